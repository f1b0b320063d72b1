import { checkCancelled } from '../files/cancel.ts';
import type { Format } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import { loadPackedProducts } from '../kernels/packed-products.ts';
import { interleavedTimes } from '../scheduler/interleaved-times.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import { bootstrapInterval, median } from '../verify/statistics.ts';
import { WeightMaker } from '../verify/synthetic-weights.ts';
import { linearWork } from './linear-work.ts';
import type { Work } from './work.ts';

/** A matrix that tokens are multiplied with. */
export interface Product {
  readonly rows: number;
  readonly columns: number;
  readonly format: Format;
}

/** What a product takes, and what takes its place. */
export interface ProductTime {
  /** Milliseconds. */
  readonly before: number;
  readonly after: number;
  /** How many times as fast: the median of paired runs, and its 95% interval. */
  readonly ratio: number;
  readonly interval: readonly [number, number];
}

const ROUNDS = 9;
/** Multiply-adds of a run, so that it takes longer than a submit does, and products at most. */
const WORK = 2 ** 27;
const MOST_PRODUCTS = 64;
const WHAT = 'Measuring the time of products';

/** Blocks that stay are in a format's name as a rounded share. */
export const productKey = ({ rows, columns, format }: Product): string =>
  [rows, columns, format.name, format.blocks?.kept].join(' ');

/** Times products with synthetic weights beyond the caches, each pair of kinds once. */
export class ProductTimer {
  readonly #gpu: Gpu;
  readonly #maker: WeightMaker;
  readonly #tuner: VariantChoice | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #found = new Map<string, ProductTime>();

  /** @param tuner chooses among variants of kernels; without one those serve that do where nothing was timed */
  constructor(gpu: Gpu, tuner?: VariantChoice, signal?: AbortSignal) {
    this.#gpu = gpu;
    this.#tuner = tuner;
    this.#signal = signal;
    this.#maker = new WeightMaker(gpu, signal);
  }

  /**
   * A product before and after it became smaller, in runs that take turns; the same where nothing changed. Undefined after: it is gone.
   * @param tokens that are multiplied at once
   * @throws CancelledError, OutOfMemoryError, DeviceLostError
   */
  async time(before: Product, after: Product | undefined, tokens = 1): Promise<ProductTime> {
    checkCancelled(this.#signal, WHAT);
    const same = after === undefined || productKey(before) === productKey(after);
    const key = `${tokens}, ${same ? productKey(before) : `${productKey(before)}, ${productKey(after)}`}`;
    const known = this.#found.get(key) ?? (await this.#measure(before, same ? undefined : after, tokens));
    this.#found.set(key, known);
    return after ? known : { ...known, after: 0 };
  }

  release(): void {
    this.#maker.release();
    this.#gpu.memory.trim();
  }

  async #measure(before: Product, after: Product | undefined, tokens: number): Promise<ProductTime> {
    const gpu = this.#gpu;
    const works: Work[] = [];
    const variants: string[] = [];
    const chains: Recording[] = [];
    const products = after ? [before, after] : [before];
    // The larger of both decides how often either is repeated.
    const most = Math.max(...products.map(({ rows, columns }) => rows * columns));
    try {
      await loadPackedProducts(products.map(({ format }) => format));
      for (const { rows, columns: k, format } of products) {
        const need = { kind: 'linear', rows, k, tokens, format } as const;
        await this.#tuner?.prepare([need]);
        const work = await linearWork({ gpu, maker: this.#maker }, need);
        works.push(work);
        variants.push(this.#tuner?.linear(need) ?? work.variants[0]!);
      }
      // Each run goes through all copies, or the few that it takes would stay in a cache.
      const copies = Math.max(...works.map((work) => work.copies));
      const count = Math.min(MOST_PRODUCTS, Math.max(copies, Math.ceil(WORK / (most * tokens))));
      for (const [at, work] of works.entries()) {
        const steps = Array.from({ length: count }, (_, i) => work.steps(variants[at]!, i % work.copies)).flat();
        chains.push(await gpu.scheduler.record(steps, 'products'));
      }
      const times = await interleavedTimes(gpu, chains, ROUNDS, WHAT, this.#signal);
      const [first, second = first] = times.map((samples) => samples.map((time) => time / count)) as [
        number[],
        number[]?,
      ];
      const ratios = first.map((time, i) => time / second[i]!);
      const [low, high] = bootstrapInterval(ratios);
      const [time, ratio] = [median(first), median(ratios)];
      return { before: time, after: time / ratio, ratio, interval: [low, high] };
    } finally {
      for (const one of chains) one.release();
      for (const work of works) work.release();
    }
  }
}
