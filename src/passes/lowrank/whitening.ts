import upperTriangle from '../../../shaders/algebra/upper_triangle.wgsl';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK, choleskySteps } from '../../kernels/cholesky.ts';
import { each } from '../../kernels/each.ts';
import { writes } from '../../kernels/exact.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';

/** Damping, as a share of the mean diagonal of H: no eigenvalue is below it. What is tried where the factorization breaks down with it. */
const DAMPING = 0.01;
const RETRIES = [1, 10, 100];

/** U of H + damping = UᵀU, by which errors of a matrix count as its inputs do: tr(Δ H Δᵀ) = ‖Δ Uᵀ‖². Its buffers are its own. */
export interface Whitening {
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
): Promise<Whitening | string> {
  const k = diagonal.length;
  const mean = diagonal.reduce((sum, value) => sum + value, 0) / k;
  if (!Number.isFinite(mean)) return 'its inputs are not finite';
  if (!(mean > 0)) return 'its inputs are all zero in the calibration';
  const kept = new Scratch(gpu);
  const passing = new Scratch(gpu);
  try {
    const factor = kept.room(4 * k * k, 'factor of H');
    const upper = kept.room(4 * k * k, 'triangle of H');
    const order = passing.upload(Uint32Array.from(diagonal.keys()), 'order');
    const failed = passing.room(4, 'failed');
    const scratch = passing.room(4 * CHOLESKY_BLOCK * k, 'scratch');
    for (const times of RETRIES) {
      const damping = DAMPING * times * mean;
      gpu.clear(failed.buffer, 4);
      await gpu.scheduler.run(
        [
          permuteSymmetricStep({ matrix: hessian, order, out: factor, n: k, damping }),
          ...choleskySteps({ matrix: factor, n: k, scratch, failed, least: damping / 2, label: 'whiten' }),
        ],
        { label: 'The factorization of H', ...(signal && { signal }) },
      );
      const [column] = new Uint32Array((await gpu.readBack(failed.buffer, 0, 4)).buffer);
      if (column !== 0) continue;
      await gpu.scheduler.run([
        permuteSymmetricStep({ matrix: factor, order, out: upper, n: k, damping: 0 }),
        {
          label: 'whiten: triangle',
          ...each(k * k, { source: upperTriangle }),
          bindings: [writes('whiten', 'upper', upper, k * k)],
          params: packParams(k),
        },
      ]);
      return { k, upper, factor, release: () => kept.release() };
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
