// Products that follow each other, with weights of their own, on our side: what peers are compared with.
import {
  allocateWeight,
  type BufferView,
  formatByName,
  type Gpu,
  linearSteps,
  memoryTuningStore,
  quantizeStep,
  type Step,
  Tuner,
  usualVariant,
  type Weight,
} from 'compressa';
import { random } from './random.ts';

/** Products in a chain, so that the fixed cost of a run is spread. */
export const PRODUCTS = 8;

/** A variant that takes this many times the best one's time once is not timed again. */
const HOPELESS = 2.5;
/** Timings of each variant that is left. */
const ROUNDS = 6;

/** Square weights of one format, quantized on the GPU from f32 values whose products keep the size of what they are multiplied with. */
export async function makeWeights(gpu: Gpu, format: string, size: number): Promise<Weight[]> {
  const next = random(1);
  const amplitude = 2 * Math.sqrt(3 / size);
  const values = new Float32Array(size * size);
  const weights: Weight[] = [];
  for (let i = 0; i < PRODUCTS; i++) {
    for (let at = 0; at < values.length; at++) values[at] = (next() - 0.5) * amplitude;
    const dense = allocateWeight(gpu, formatByName('f32'), size, size, `dense ${i}`);
    const from = dense.parts[0]!.arrays[0]!;
    gpu.upload(from.buffer, new Uint8Array(values.buffer));
    if (format === 'f32') {
      weights.push(dense);
      continue;
    }
    const weight = allocateWeight(gpu, formatByName(format), size, size, `${format} ${i}`);
    const bad: BufferView = { buffer: gpu.memory.allocate(4), size: 4 };
    const to = weight.parts[0]!.arrays;
    await gpu.scheduler.run([
      quantizeStep({ source: dense.format, from, format: weight.format, to, rows: size, k: size, bad }),
    ]);
    await gpu.idle();
    gpu.memory.release(bad.buffer);
    dense.release();
    weights.push(weight);
  }
  return weights;
}

/** Values from −1 to 1. */
export function makeInput(length: number): Float32Array {
  const next = random(2);
  return Float32Array.from({ length }, () => 2 * next() - 1);
}

/** Products that follow each other, recorded. */
export interface Chain {
  /** The name of the variant that took the least time. */
  readonly variant: string;
  /** f32 [tokens, size] */
  output(): Promise<Float32Array>;
  /** Runs all products once and waits until the device is done. */
  run(): Promise<void>;
  release(): void;
}

/** A product with one of the weights of a chain. */
export type Product = (args: { x: BufferView; y: BufferView; variant: string }) => Step[];

/** Records x times all weights, one after another, with the variant that a tuner chooses. */
export async function openChain(gpu: Gpu, weights: readonly Weight[], tokens: number, x: Float32Array): Promise<Chain> {
  const [{ k: size, format }] = weights as [Weight];
  const products = weights.map(
    (weight): Product =>
      (args) =>
        linearSteps({ ...args, weight, tokens }),
  );
  const need = { kind: 'linear', format, rows: size, k: size, tokens } as const;
  const tuner = new Tuner(gpu, { mode: 'full', store: memoryTuningStore() });
  await tuner.prepare([need]);
  return openProducts(gpu, products, [tuner.linear(need) ?? usualVariant(gpu, need, format)], tokens, x);
}

/** The same for any products of square weights; of the variants `names` the one that takes the least time. */
export async function openProducts(
  gpu: Gpu,
  products: readonly Product[],
  names: readonly string[],
  tokens: number,
  x: Float32Array,
): Promise<Chain> {
  const size = x.length / tokens;
  const bytes = x.byteLength;
  const buffers = [0, 1, 2].map(() => gpu.memory.allocate(bytes));
  const views = buffers.map((buffer): BufferView => ({ buffer, size: bytes }));
  gpu.upload(buffers[0]!, new Uint8Array(x.buffer, x.byteOffset, bytes));
  // The input stays as it is; values take turns in the other two.
  const value = (i: number) => (i === 0 ? views[0]! : views[1 + (i % 2)]!);
  const record = (variant: string, count = products.length) =>
    gpu.scheduler.record(
      products.slice(0, count).flatMap((product, i) => product({ x: value(i), y: value(i + 1), variant })),
      'products',
    );
  const run = async (recording: { submit(): void }): Promise<number> => {
    const start = performance.now();
    recording.submit();
    await gpu.idle();
    return performance.now() - start;
  };
  const variant = await fastest(names);
  const chain = await record(variant);
  return {
    variant,
    async run() {
      await run(chain);
    },
    async output() {
      await run(chain);
      const y = await gpu.readBack(value(products.length).buffer, 0, tokens * size * 4);
      return new Float32Array(y.buffer, y.byteOffset, tokens * size);
    },
    release() {
      chain.release();
      for (const buffer of buffers) gpu.memory.release(buffer);
    },
  };

  /** Of single products: variants that are far behind are dropped, the others take turns, so that a busy moment hits all of them. */
  async function fastest(names: readonly string[]): Promise<string> {
    if (names.length === 1) return names[0]!;
    const timed: { name: string; recording: Awaited<ReturnType<typeof record>>; times: number[] }[] = [];
    let least = Number.POSITIVE_INFINITY;
    for (const name of names) {
      const recording = await record(name, 1);
      // The first run compiles, for longer than a product takes.
      await run(recording);
      const time = await run(recording);
      least = Math.min(least, time);
      timed.push({ name, recording, times: [time] });
    }
    const left = timed.filter(({ times }) => times[0]! <= HOPELESS * least);
    for (let round = 0; round < ROUNDS; round++) {
      for (const { recording, times } of left) times.push(await run(recording));
    }
    for (const { recording } of timed) recording.release();
    const best = left.map(({ times }) => Math.min(...times));
    return left[best.indexOf(Math.min(...best))]!.name;
  }
}
