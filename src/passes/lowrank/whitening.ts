import upperTriangle from '../../../shaders/algebra/upper_triangle.wgsl';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { each } from '../../kernels/each.ts';
import { writes } from '../../kernels/exact.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';
import { DAMPING, dampedCholesky, hessianProblem } from '../methods/damped-cholesky.ts';
import type { WhitenBy } from './whiten-by.ts';

/** What errors of a matrix are weighed by, so that they count as its inputs do. Its buffers are its own. */
export type Whitening = FullWhitening | ColumnWhitening;

/** Roots of the diagonal of H + damping: tr(Δ diag(H) Δᵀ) = ‖Δ diag(s)‖². */
export interface ColumnWhitening {
  readonly by: 'columns';
  readonly k: number;
  /** f32 [k] */
  readonly scales: BufferView;
  readonly values: Float32Array;
  release(): void;
}

/** U of H + damping = UᵀU: tr(Δ H Δᵀ) = ‖Δ Uᵀ‖². */
export interface FullWhitening {
  readonly by: 'hessian';
  readonly k: number;
  /** f32 [k, k], zero below the diagonal. */
  readonly upper: BufferView;
  /** The same, mirrored below the diagonal, as systems are solved by. */
  readonly factor: BufferView;
  release(): void;
}

/**
 * Factors H with 1% of its mean diagonal added, or ten and a hundred times as much where that breaks down.
 * @param hessian f32 [k, k]
 * @param diagonal of H
 * @returns a reason where H can't be factored
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function whiten(
  gpu: Gpu,
  hessian: BufferView,
  diagonal: Float32Array,
  signal?: AbortSignal,
): Promise<FullWhitening | string> {
  const k = diagonal.length;
  const problem = hessianProblem(diagonal);
  if (problem) return problem;
  const kept = new Scratch(gpu);
  const passing = new Scratch(gpu);
  try {
    const factor = kept.room(4 * k * k, 'factor of H');
    const upper = kept.room(4 * k * k, 'triangle of H');
    const order = passing.upload(Uint32Array.from(diagonal.keys()), 'order');
    const damping = await dampedCholesky(gpu, { hessian, diagonal, order, n: k, factor }, signal);
    if (typeof damping === 'string') {
      kept.release();
      return damping;
    }
    await gpu.scheduler.run([
      permuteSymmetricStep({ matrix: factor, order, out: upper, n: k, damping: 0 }),
      {
        label: 'whiten: triangle',
        ...each(k * k, { source: upperTriangle }),
        bindings: [writes('whiten', 'upper', upper, k * k)],
        params: packParams(k),
      },
    ]);
    return { by: 'hessian', k, upper, factor, release: () => kept.release() };
  } catch (error) {
    kept.release();
    throw error;
  } finally {
    passing.release();
  }
}

/**
 * Weighs columns by how large their inputs are, the form of ASVD (Yuan et al. 2023) that makes the best of the diagonal of H: where no more of H is known, or fits.
 * @param diagonal of H
 * @returns a reason where there is nothing to weigh by
 */
export function whitenColumns(gpu: Gpu, diagonal: Float32Array): ColumnWhitening | string {
  const problem = hessianProblem(diagonal);
  if (problem) return problem;
  // No input is so small that it does not count.
  const least = DAMPING * (diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length);
  const values = diagonal.map((value) => Math.sqrt(value + least));
  const scratch = new Scratch(gpu);
  const scales = scratch.upload(values, 'scales of columns');
  return { by: 'columns', k: diagonal.length, scales, values, release: () => scratch.release() };
}

/**
 * What weighs the errors of matrices of one input: as they ask for, by columns where H is not known or can't be factored.
 * @param notice is told what could not be had
 */
export async function whiteningOf(
  gpu: Gpu,
  {
    by,
    hessian,
    diagonal,
  }: { readonly by: WhitenBy; readonly hessian: BufferView | undefined; readonly diagonal: Float32Array },
  notice: (text: string) => void,
  signal?: AbortSignal,
): Promise<Whitening | undefined> {
  if (by === 'hessian') {
    const found = hessian ? await whiten(gpu, hessian, diagonal, signal) : 'not all of H is known';
    if (typeof found !== 'string') return found;
    notice(`weighed by the sizes of their inputs only: ${found}`);
  }
  const columns = whitenColumns(gpu, diagonal);
  if (typeof columns !== 'string') return columns;
  notice(`factored without whitening: ${columns}`);
  return undefined;
}
