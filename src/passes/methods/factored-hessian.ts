import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK, choleskySteps } from '../../kernels/cholesky.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';

/** Damping, as a share of the mean diagonal of H, and what is tried where the factorization breaks down with it. */
export const DAMPING = 0.01;
export const RETRIES = [1, 10, 100];

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
  const mean = diagonal.reduce((sum, value) => sum + value, 0) / k;
  if (!Number.isFinite(mean)) return 'its inputs are not finite';
  if (!(mean > 0)) return 'its inputs are all zero in the calibration';
  // Ties in the order of columns: the sort is stable.
  const order = Uint32Array.from(diagonal.keys()).sort((a, b) => diagonal[a]! - diagonal[b]! || a - b);
  const place = new Uint32Array(k);
  for (const [i, column] of order.entries()) place[column] = i;
  const kept = new Scratch(gpu);
  const passing = new Scratch(gpu);
  try {
    const views = {
      matrix: kept.room(4 * k * k, 'H in order'),
      factor: kept.room(4 * k * k, 'factor of H'),
      order: kept.upload(order, 'order'),
      place: kept.upload(place, 'places'),
    };
    const failed = passing.room(4, 'failed');
    const scratch = passing.room(4 * CHOLESKY_BLOCK * k, 'scratch');
    for (const times of RETRIES) {
      const damping = DAMPING * times * mean;
      const permuted = (out: BufferView) =>
        permuteSymmetricStep({ matrix: hessian, order: views.order, out, n: k, damping });
      gpu.clear(failed.buffer, 4);
      await gpu.scheduler.run(
        [
          permuted(views.factor),
          ...choleskySteps({ matrix: views.factor, n: k, scratch, failed, least: damping / 2, label: 'factor H' }),
        ],
        { label: 'The factorization of H', ...(signal && { signal }) },
      );
      const [column] = new Uint32Array((await gpu.readBack(failed.buffer, 0, 4)).buffer);
      if (column !== 0) continue;
      await gpu.scheduler.run([permuted(views.matrix)]);
      return { k, ...views, damping, release: () => kept.release() };
    }
    kept.release();
    return `H is not positive definite, even with ${DAMPING * RETRIES.at(-1)!} times its mean diagonal added`;
  } catch (error) {
    kept.release();
    throw error;
  } finally {
    passing.release();
  }
}
