import { valuesOf } from '../../formats/format.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK } from '../../kernels/cholesky.ts';
import { addGatheredStep, gatherColumnsStep } from '../../kernels/permute.ts';
import { transposedProductStep } from '../../kernels/transposed-product.ts';
import { choleskySolveSteps } from '../../kernels/triangular-solve.ts';
import type { PlannedTensor } from '../plan.ts';
import type { FactoredHessian } from './factored-hessian.ts';
import type { DenseRows } from './matrix-error.ts';

/** Levels of a grid from which on there is little to make up for. */
const FEW_LEVELS = 16;
/** Of what was lost: all of it would fit the weights to the calibration too closely (Arai and Ichikawa 2025). */
const SHARE = 0.5;

/** How much of what earlier matrices lost one of this many levels makes up for, unless told otherwise. */
export const defaultCorrection = (levels: number): number => (levels < FEW_LEVELS ? SHARE : 0);

/** How much of what its inputs have lost a matrix makes up for, with the share that is asked for, if any. */
export const correctionOf = ({ method, target, factors }: PlannedTensor, given: number | undefined): number =>
  method === 'gptq' && !factors ? (given ?? defaultCorrection(valuesOf(target!).grid!.levels.length)) : 0;

/** What weights have to be multiplied with, to make up for inputs that are off. */
export interface Correction {
  /** Changes the rows in place: W + share · W M. */
  apply(rows: DenseRows, share: number, signal?: AbortSignal): Promise<void>;
  release(): void;
}

/**
 * The weights that come nearest, on inputs X of a model whose earlier matrices are compressed, to the outputs that W had on the original inputs X₀ are
 * W + W M, M = (X₀ − X)ᵀX / T · (H + λ)⁻¹: what codes should be chosen for in place of W (Li et al. 2025, GPTAQ; Arai and Ichikawa 2025, QEP).
 * @param cross f32 [k, k]: (X₀ − X)ᵀX / T
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function makeCorrection(
  gpu: Gpu,
  cross: BufferView,
  { k, factor, order, place }: FactoredHessian,
  signal?: AbortSignal,
): Promise<Correction> {
  const kept = new Scratch(gpu);
  const passing = new Scratch(gpu);
  try {
    const identity = kept.upload(
      Uint32Array.from({ length: k }, (_, i) => i),
      'columns',
    );
    // M with its columns in the order of the factor.
    const matrix = kept.room(4 * k * k, 'correction');
    const z = passing.room(4 * k * k, 'correction by columns');
    const scratch = passing.room(4 * CHOLESKY_BLOCK * k, 'scratch');
    const square = { rows: k, k };
    await gpu.scheduler.run(
      [
        gatherColumnsStep({ weights: cross, order, out: z, ...square }),
        ...choleskySolveSteps({ factor, n: k, z, columns: k, scratch, label: 'correction' }),
        gatherColumnsStep({ weights: z, order: identity, out: matrix, ...square }),
      ],
      { label: 'The correction', ...(signal && { signal }) },
    );
    return {
      release: () => kept.release(),
      async apply({ view, rows }, share, cancel) {
        const rooms = new Scratch(gpu);
        try {
          const transposed = rooms.room(4 * rows * k, 'columns of weights');
          const change = rooms.room(4 * rows * k, 'change of weights');
          await gpu.scheduler.run(
            [
              gatherColumnsStep({ weights: view, order: identity, out: transposed, rows, k }),
              transposedProductStep({
                a: { ...transposed, width: rows },
                b: { ...matrix, width: k },
                ...{ c: change, rows, columns: k, from: 0, to: k, label: 'change of weights' },
              }),
              addGatheredStep({ x: change, place, weights: view, share, rows, k }),
            ],
            cancel && { signal: cancel },
          );
        } finally {
          rooms.release();
        }
      },
    };
  } catch (error) {
    kept.release();
    throw error;
  } finally {
    passing.release();
  }
}
