import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';
import { dampedCholesky, hessianProblem } from './damped-cholesky.ts';

/** H with damping, in the order in which columns are taken, and its Cholesky factor. All buffers are its own. */
export interface FactoredHessian {
  readonly k: number;
  /** f32 [k, k] */
  readonly matrix: BufferView;
  /** f32 [k, k]: U of UᵀU, mirrored below the diagonal. */
  readonly factor: BufferView;
  /** u32 [k]: the column at each place; the last place is taken first. */
  readonly order: BufferView;
  /** u32 [k]: the place of each column. */
  readonly place: BufferView;
  /** What was added to the diagonal. */
  readonly damping: number;
  /** Frees what is on the GPU. */
  release(): void;
}

/**
 * Orders the columns of H by its diagonal, so that the largest is taken first (act-order), adds 1% of the mean to the diagonal and factors it. A
 * factorization that breaks down is tried again with ten and a hundred times as much.
 * @returns a reason where H can't be factored
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function factorHessian(
  gpu: Gpu,
  hessian: BufferView,
  diagonal: Float32Array,
  signal?: AbortSignal,
): Promise<FactoredHessian | string> {
  const k = diagonal.length;
  const problem = hessianProblem(diagonal);
  if (problem) return problem;
  // Ties in the order of columns: the sort is stable.
  const order = Uint32Array.from(diagonal.keys()).sort((a, b) => diagonal[a]! - diagonal[b]! || a - b);
  const place = new Uint32Array(k);
  for (const [i, column] of order.entries()) place[column] = i;
  const kept = new Scratch(gpu);
  try {
    const views = {
      matrix: kept.room(4 * k * k, 'H in order'),
      factor: kept.room(4 * k * k, 'factor of H'),
      order: kept.upload(order, 'order'),
      place: kept.upload(place, 'places'),
    };
    const damping = await dampedCholesky(
      gpu,
      { hessian, diagonal, order: views.order, n: k, factor: views.factor },
      signal,
    );
    if (typeof damping === 'string') {
      kept.release();
      return damping;
    }
    await gpu.scheduler.run([
      permuteSymmetricStep({ matrix: hessian, order: views.order, out: views.matrix, n: k, damping }),
    ]);
    return { k, ...views, damping, release: () => kept.release() };
  } catch (error) {
    kept.release();
    throw error;
  }
}
