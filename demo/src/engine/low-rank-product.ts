import type { Scratch } from '../../../src/gpu/scratch.ts';
import { type BufferView, type Gpu, gemmScratch, gemmSteps, wrapDense } from '../../../src/index.ts';
import { gatherColumnsStep } from '../../../src/kernels/permute.ts';
import { scaleColumnsStep } from '../../../src/kernels/rows.ts';
import { randomizedSvd, type Svd, svd } from '../../../src/low-rank.ts';
import type { DenseRows } from '../../../src/passes/methods/matrix-error.ts';
import { Rounding, type Rounds } from './rounding.ts';

/** The nearest product of two factors, kept for the last rank that was asked for. */
export class LowRankProduct {
  readonly #gpu: Gpu;
  readonly #matrix: DenseRows & { readonly name: string };
  readonly #rounding: Rounding;
  #last: Svd | undefined;

  constructor(gpu: Gpu, matrix: DenseRows & { readonly name: string }) {
    this.#gpu = gpu;
    this.#matrix = matrix;
    this.#rounding = new Rounding(gpu, matrix.name);
  }

  /**
   * Puts left · right in `out`, each factor having half of every singular value and being rounded as the engine stores them.
   * @throws CancelledError, OutOfMemoryError, DeviceLostError
   */
  async into(out: BufferView, rank: number, rounds: Rounds, scratch: Scratch, signal?: AbortSignal): Promise<void> {
    const gpu = this.#gpu;
    const { view, rows, k, name } = this.#matrix;
    if (this.#last?.rank !== rank) {
      this.#last?.release();
      this.#last = undefined;
      this.#last = await svd(gpu, wrapDense(view.buffer, rows, k), { rank, name, ...(signal && { signal }) });
    }
    const { u, v, singularValues } = this.#last;
    const roots = scratch.upload(singularValues.map(Math.sqrt), 'roots');
    const left = scratch.room(4 * rows * rank, 'left');
    const tall = scratch.room(4 * k * rank, 'right, by columns');
    const right = scratch.room(4 * rank * k, 'right');
    const order = scratch.upload(
      Uint32Array.from({ length: rank }, (_, i) => i),
      'order',
    );
    await gpu.scheduler.run([
      scaleColumnsStep({ x: u, factors: roots, out: left, rows, width: rank }),
      scaleColumnsStep({ x: v, factors: roots, out: tall, rows: k, width: rank }),
      gatherColumnsStep({ weights: tall, order, out: right, rows: k, k: rank }),
    ]);
    if (rounds.format.name !== 'f32') {
      await this.#rounding.inPlace({ view: left, rows, k: rank }, rounds, scratch);
      await this.#rounding.inPlace({ view: right, rows: rank, k }, rounds, scratch);
    }
    await gpu.scheduler.run(
      gemmSteps({
        ...{ a: { ...left, width: rank }, b: { ...right, width: k }, c: { ...out, width: k } },
        ...{ rows, columns: k, inner: rank },
        scratch: scratch.room(Math.max(4, gemmScratch(rows, k, rank)), 'parts'),
      }),
    );
  }

  release(): void {
    this.#last?.release();
    this.#last = undefined;
    this.#rounding.release();
  }
}

/** Most singular values that the spectrum shows: more of a large matrix take long and say little. */
export const SPECTRUM = 256;

/** The largest singular values, and what all of them come to: ‖W‖². */
export async function spectrumOf(
  gpu: Gpu,
  view: BufferView,
  rows: number,
  k: number,
  signal: AbortSignal,
): Promise<Float32Array> {
  const side = Math.min(rows, k);
  const matrix = wrapDense(view.buffer, rows, k);
  const found = await (side <= SPECTRUM
    ? svd(gpu, matrix, { signal })
    : randomizedSvd(gpu, matrix, { rank: SPECTRUM / 2, signal }));
  found.release();
  return found.singularValues;
}
