import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK } from '../../kernels/cholesky.ts';
import { gemmScratch, gemmSteps, usualGemm } from '../../kernels/gemm.ts';
import { scaleColumnsStep } from '../../kernels/rows.ts';
import { triangularSolveSteps } from '../../kernels/triangular-solve.ts';
import type { Weight } from '../../kernels/weight.ts';
import { readFloats } from '../lowrank/dense-rows.ts';
import { MatrixProducts } from '../lowrank/matrix-products.ts';
import { type SvdTarget, svd } from '../lowrank/svd.ts';
import type { Whitening } from '../lowrank/whitening.ts';
import { sameRoom } from './factor-arithmetic.ts';

/** W ≈ left · right. */
export interface Factors {
  readonly rank: number;
  /** [rows, rank] */
  readonly left: Float32Array<ArrayBuffer>;
  /** [rank, columns] */
  readonly right: Float32Array<ArrayBuffer>;
  /** What is lost relative to leaving the matrix out: ‖W − left · right‖² / ‖W‖², or tr(Δ H Δᵀ) / tr(W H Wᵀ). */
  readonly error: number;
}

export interface FactorOptions {
  readonly target: SvdTarget;
  readonly whitening?: Whitening | undefined;
  readonly seed?: number;
  readonly name: string;
  readonly signal?: AbortSignal;
}

/**
 * The nearest product of two factors of some rank: the truncated SVD of W or, where the inputs are known, of W Uᵀ with H = UᵀU, right being solved by Uᵀ again, so that of all products of that rank this one moves
 * the outputs least (SVD-LLM: Wang et al. 2024), or by the sizes of its columns (ASVD).
 * @param weight f32 [rows, columns]; it stays as it is
 * @throws NonFiniteError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorMatrix(gpu: Gpu, weight: Weight, options: FactorOptions): Promise<Factors> {
  const { target, whitening, name, signal, seed } = options;
  const { rows, k } = weight;
  const scratch = new Scratch(gpu);
  const run = { label: 'The factorization', ...(signal && { signal }) };
  let whitened: Weight | undefined;
  try {
    whitened = whitening && (await whitenedMatrix(gpu, weight, whitening, name, signal));
    const matrix = whitened ?? weight;
    const found = await svd(gpu, matrix, {
      ...target,
      name,
      ...(seed !== undefined && { seed }),
      ...(signal && { signal }),
    });
    try {
      const { rank, singularValues } = found;
      if (whitening?.by === 'hessian') {
        await gpu.scheduler.run(
          triangularSolveSteps({
            ...{ factor: whitening.factor, n: k, z: found.v, columns: rank, backward: true },
            scratch: scratch.room(4 * CHOLESKY_BLOCK * rank, 'scratch'),
          }),
          run,
        );
      }
      const u = await readFloats(gpu, found.u, rows * rank);
      const v = await readFloats(gpu, found.v, k * rank);
      if (whitening?.by === 'columns')
        for (let i = 0; i < v.length; i++) v[i]! /= whitening.values[Math.floor(i / rank)]!;
      const kept = singularValues.reduce((sum, value) => sum + value * value, 0);
      const seen = await MatrixProducts.open(gpu, matrix, run, name);
      const all = (await seen.squaredNorm(run)) / seen.scale ** 2;
      return {
        ...balanced(u, singularValues, v, whitening === undefined),
        rank,
        error: all === 0 ? 0 : Math.max(0, 1 - kept / all),
      };
    } finally {
      found.release();
    }
  } finally {
    whitened?.release();
    scratch.release();
  }
}

/**
 * W Uᵀ, whose singular values say what leaving out a part of W does to its outputs. The caller releases it.
 * @throws OutOfMemoryError, CancelledError, DeviceLostError
 */
export async function whitenedMatrix(
  gpu: Gpu,
  weight: Weight,
  whitening: Whitening,
  name: string,
  signal?: AbortSignal,
): Promise<Weight> {
  const { k } = weight;
  const whitened = sameRoom(gpu, weight, `${name}, whitened`);
  const scratch = new Scratch(gpu);
  try {
    const most = Math.max(...weight.parts.map((part) => part.rows));
    const room = scratch.room(Math.max(4, whitening.by === 'columns' ? 0 : gemmScratch(most, k, k)), 'parts');
    const steps = weight.parts.flatMap(({ rows, arrays: [from] }, i) => {
      const to = whitened.parts[i]!.arrays[0]!;
      if (whitening.by === 'columns') {
        return [scaleColumnsStep({ x: from!, factors: whitening.scales, out: to, rows, width: k })];
      }
      return gemmSteps({
        ...{ a: { ...from!, width: k }, b: { ...whitening.upper, width: k, transposed: true } },
        ...{ c: { ...to, width: k }, rows, columns: k, inner: k },
        ...{ scratch: room, variant: usualGemm(gpu), label: 'whiten' },
      });
    });
    await gpu.scheduler.run(steps, { label: 'The factorization', ...(signal && { signal }) });
    return whitened;
  } catch (error) {
    whitened.release();
    throw error;
  } finally {
    scratch.release();
  }
}

/**
 * Shares singular values out, so that column k of left is as long as row k of right and both fit types of few bits. What columns are multiplied by is f32, so that a GPU that does the same gets the same bits.
 * @param u [rows, rank], orthonormal columns
 * @param v [columns, rank], columns of any length, or `unit`, as they come from the SVD
 */
function balanced(
  u: Float32Array,
  values: Float32Array,
  v: Float32Array,
  unit: boolean,
): Pick<Factors, 'left' | 'right'> {
  const rank = values.length;
  const columns = v.length / rank;
  const squares = new Float64Array(rank);
  if (unit) squares.fill(1);
  else for (let i = 0; i < v.length; i++) squares[i % rank]! += v[i]! ** 2;
  const lengths = squares.map(Math.sqrt);
  const shares = Float32Array.from(values, (value, i) => Math.sqrt(value * lengths[i]!));
  const left = Float32Array.from(u, (value, i) => value * shares[i % rank]!);
  const right = new Float32Array(v.length);
  for (let k = 0; k < rank; k++) {
    const factor = lengths[k]! > 0 ? Math.fround(Math.sqrt(values[k]! / lengths[k]!)) : 0;
    for (let column = 0; column < columns; column++) right[k * columns + column] = factor * v[column * rank + k]!;
  }
  return { left, right };
}
