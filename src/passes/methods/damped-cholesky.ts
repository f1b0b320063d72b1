import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK, choleskySteps } from '../../kernels/cholesky.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';

/** Damping, as a share of the mean diagonal of H, and how many times as much is tried where the factorization breaks down with it. */
export const DAMPING = 0.01;
const RETRIES = [1, 10, 100];

/** H, and which of its columns are factored in which order. */
export interface DampedCholeskyArguments {
  /** f32 [k, k] */
  readonly hessian: BufferView;
  /** Of all of H. */
  readonly diagonal: Float32Array;
  /** u32 [n]: columns of H */
  readonly order: BufferView;
  readonly n: number;
  /** f32 [n, n]: receives U of UᵀU, mirrored below the diagonal. */
  readonly factor: BufferView;
}

/** Why no damping of ours makes H positive definite, before anything is computed; undefined where it may. */
export function hessianProblem(diagonal: Float32Array): string | undefined {
  const mean = meanOf(diagonal);
  if (!Number.isFinite(mean)) return 'its inputs are not finite';
  return mean > 0 ? undefined : 'its inputs are all zero in the calibration';
}

const meanOf = (diagonal: Float32Array): number => diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length;

/**
 * Factors columns of H with 1% of its mean diagonal added, or ten and a hundred times as much where that breaks down.
 * @returns what was added to the diagonal, or a reason where H can't be factored
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function dampedCholesky(
  gpu: Gpu,
  { hessian, diagonal, order, n, factor }: DampedCholeskyArguments,
  signal?: AbortSignal,
): Promise<number | string> {
  const problem = hessianProblem(diagonal);
  if (problem) return problem;
  const passing = new Scratch(gpu);
  try {
    const failed = passing.room(4, 'failed');
    const scratch = passing.room(4 * CHOLESKY_BLOCK * n, 'scratch');
    for (const times of RETRIES) {
      const damping = DAMPING * times * meanOf(diagonal);
      gpu.clear(failed.buffer, 4);
      await gpu.scheduler.run(
        [
          permuteSymmetricStep({ matrix: hessian, order, out: factor, n, width: diagonal.length, damping }),
          ...choleskySteps({ matrix: factor, n, scratch, failed, least: damping / 2, label: 'factor H' }),
        ],
        { label: 'The factorization of H', ...(signal && { signal }) },
      );
      const [column] = new Uint32Array((await gpu.readBack(failed.buffer, 0, 4)).buffer);
      if (column === 0) return damping;
    }
    return `H is not positive definite, even with ${DAMPING * RETRIES.at(-1)!} times its mean diagonal added`;
  } finally {
    passing.release();
  }
}
