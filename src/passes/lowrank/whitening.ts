import upperTriangle from '../../../shaders/algebra/upper_triangle.wgsl';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { each } from '../../kernels/each.ts';
import { writes } from '../../kernels/exact.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';
import { dampedCholesky, hessianProblem } from '../methods/damped-cholesky.ts';

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
    return { k, upper, factor, release: () => kept.release() };
  } catch (error) {
    kept.release();
    throw error;
  } finally {
    passing.release();
  }
}
