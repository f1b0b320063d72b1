import addToDiagonal from '../../../shaders/algebra/add_to_diagonal.wgsl';
import { ArgumentError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { each } from '../../kernels/each.ts';
import { reads, writes } from '../../kernels/exact.ts';
import { wrapDense } from '../../kernels/weight.ts';
import { readFloats } from './dense-rows.ts';
import { type SvdOptions, svd } from './svd.ts';

/** A = V diag(λ) Vᵀ, on the GPU. */
export interface SymmetricEigen {
  /** Largest first. */
  readonly values: Float32Array<ArrayBuffer>;
  /** f32 [n, n]: a column for each value, orthonormal. */
  readonly vectors: BufferView;
  /** Frees the vectors. */
  release(): void;
}

/**
 * All eigenvalues and vectors of a symmetric matrix, by one-sided Jacobi over many workgroups: A + c has the same vectors and no negative values where c bounds them (the largest sum of magnitudes of a row, Gershgorin 1931), so that its singular values are its eigenvalues.
 * Values are within 3e-5 c of those of A.
 * @param matrix f32 [n, n], of which both triangles are read; it stays as it is
 * @throws ArgumentError for sizes, and for a matrix whose triangles differ by more than 1e-6 c; NonFiniteError, ConvergenceError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function symmetricEigen(
  gpu: Gpu,
  matrix: BufferView,
  n: number,
  options: SvdOptions = {},
): Promise<SymmetricEigen> {
  if (!(Number.isInteger(n) && n >= 1)) throw new ArgumentError(`A matrix has no ${n} rows.`);
  const { name = 'the matrix' } = options;
  const scratch = new Scratch(gpu);
  try {
    const copy = scratch.room(4 * n * n, 'shifted');
    const run = { label: 'The factorization', ...(options.signal && { signal: options.signal }) };
    const shifted = async (shift: number) =>
      gpu.scheduler.run(
        [
          {
            label: 'eigen: shift',
            ...each(n * n, { source: addToDiagonal }),
            bindings: [reads('eigen', 'matrix', matrix, n * n), writes('eigen', 'out', copy, n * n)],
            params: packParams(n, { f32: shift }),
          },
        ],
        run,
      );
    await shifted(0);
    const bound = boundOf(await readFloats(gpu, copy, n * n), n, name);
    await shifted(bound);
    const { singularValues, u, release } = await svd(gpu, wrapDense(copy.buffer, n, n), options);
    return { values: singularValues.map((value) => value - bound), vectors: u, release };
  } finally {
    scratch.release();
  }
}

/** The largest sum of magnitudes of a row. NaN and infinities are left to who factors it. */
function boundOf(values: Float32Array, n: number, name: string): number {
  let bound = 0;
  let apart = 0;
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) {
      sum += Math.abs(values[i * n + j]!);
      apart = Math.max(apart, Math.abs(values[i * n + j]! - values[j * n + i]!));
    }
    bound = Math.max(bound, sum);
  }
  if (apart > 1e-6 * bound) {
    throw new ArgumentError(`${name} is not symmetric: an element differs from its counterpart by ${apart}.`);
  }
  return Number.isFinite(bound) ? bound : 0;
}
