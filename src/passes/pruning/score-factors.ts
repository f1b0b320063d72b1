import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK } from '../../kernels/cholesky.ts';
import { inverseRootsSteps } from '../../kernels/inverse-roots.ts';
import type { FactoredHessian } from '../methods/factored-hessian.ts';
import type { PruneInputs } from './prune-rows.ts';
import type { Pruning } from './pruning.ts';

/** What weights of matrices that share an input are multiplied by to be ranked, f32 [k] each. */
export interface ScoreFactors {
  /** √H_jj */
  readonly wanda: BufferView;
  /** 1 / √[H⁻¹]_jj, where H is known. */
  readonly obs?: BufferView;
}

/**
 * @param scratch whose buffers the factors are
 * @param prunings how the matrices are pruned
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function scoreFactors(
  gpu: Gpu,
  scratch: Scratch,
  prunings: readonly Pruning[],
  meanSquare: Float32Array,
  factored: FactoredHessian | undefined,
  signal?: AbortSignal,
): Promise<ScoreFactors> {
  const wanda = scratch.upload(meanSquare.map(Math.sqrt), 'factors of scores');
  if (!factored || !prunings.some(({ score }) => score === 'obs')) return { wanda };
  const n = factored.k;
  const obs = scratch.room(4 * n, 'factors of scores');
  const passing = new Scratch(gpu);
  try {
    const inverse = passing.room(4 * n * n, 'inverse of H');
    const room = passing.room(4 * CHOLESKY_BLOCK * n, 'scratch');
    const { factor, order } = factored;
    await gpu.scheduler.run(
      inverseRootsSteps({ factor, order, factors: obs, inverse, scratch: room, n }),
      signal && { signal },
    );
    return { wanda, obs };
  } finally {
    passing.release();
  }
}

/** What pruning a matrix needs to know. Where H can't be factored, `obs` ranks as `wanda` does and repairs nothing. */
export function pruneInputs(
  pruning: Pruning,
  { wanda, obs }: ScoreFactors,
  { hessian, factored }: { readonly hessian?: BufferView; readonly factored?: FactoredHessian },
): PruneInputs {
  const { score, repair } = pruning;
  return {
    hessian,
    factors: score === 'magnitude' ? undefined : score === 'obs' ? (obs ?? wanda) : wanda,
    repair: repair === 'obs' ? factored : undefined,
  };
}
