import { formatByName } from '../../formats/registry.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { denseSlices } from '../dense-slices.ts';
import type { PlannedTensor } from '../plan.ts';
import { cheapestShares, sharesAround } from '../spread-over-layers.ts';
import { copyView, pruneRows } from './prune-rows.ts';
import type { SliceSource } from './pruned-slices.ts';
import type { Pruning } from './pruning.ts';

/** What pruning a matrix costs at some shares, relative to leaving it out. */
export interface MatrixCosts {
  readonly tensor: PlannedTensor;
  readonly layer: number | undefined;
  /** tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), by share. */
  readonly costs: readonly number[];
}

/**
 * Measures what pruning a matrix costs, without repair, on the input that the original model gives it.
 * @param meanSquare of the columns of the input
 * @param hessian f32 [k, k]; without it errors are squares
 * @throws NonFiniteError, FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function measureCosts(
  { gpu, checkpoint, signal }: SliceSource,
  tensor: PlannedTensor,
  meanSquare: Float32Array,
  hessian: BufferView | undefined,
): Promise<number[]> {
  const { weight, prune } = tensor;
  const pattern = prune?.pattern;
  if (weight.kind !== 'dense' || pattern?.kind !== 'ranked' || !('fraction' in pattern.remove)) {
    throw new Error('Only shares of dense matrices differ by layer.');
  }
  const shares = sharesAround(pattern.remove.fraction);
  const lost = shares.map(() => 0);
  let all = 0;
  const scratch = new Scratch(gpu);
  try {
    const factors = scratch.upload(meanSquare.map(Math.sqrt), 'factors of scores');
    for await (const slice of denseSlices(gpu, checkpoint, weight.info, formatByName('f32'), signal, pattern.rows)) {
      const kept = new Scratch(gpu);
      try {
        const size = 4 * slice.rows * slice.k;
        const original = kept.room(size, 'weights before pruning');
        copyView(gpu, slice.view, original, size);
        for (const [i, fraction] of shares.entries()) {
          copyView(gpu, original, slice.view, size);
          const here = { ...pattern, remove: { fraction } };
          const { errors } = await pruneRows(gpu, slice, here, undefined, { factors, hessian }, { signal });
          lost[i]! += errors.pruned;
          if (i === 0) all += errors.all;
        }
      } finally {
        kept.release();
      }
    }
    return lost.map((one) => (all > 0 ? one / all : 0));
  } finally {
    scratch.release();
  }
}

/**
 * Sparsity per layer by measured sensitivity: of all ways to lose the share that the rule says, the one whose matrices together lose least by what was measured.
 * @param matrices of one rule
 * @returns how each matrix is pruned, by name
 */
export function sensitivePrunings(prune: Pruning, matrices: readonly MatrixCosts[]): Map<string, Pruning> {
  const { pattern } = prune;
  if (pattern.kind !== 'ranked' || !('fraction' in pattern.remove)) throw new Error('Only shares differ by layer.');
  const layers = new Map<number | undefined, MatrixCosts[]>();
  for (const matrix of matrices) layers.set(matrix.layer, [...(layers.get(matrix.layer) ?? []), matrix]);
  const weightsOf = ({ tensor }: MatrixCosts) => tensor.weight.shape[0]! * tensor.weight.shape[1]!;
  const shares = sharesAround(pattern.remove.fraction);
  const curves = [...layers.values()].map((of) => ({
    size: of.reduce((sum, matrix) => sum + weightsOf(matrix), 0),
    costs: shares.map((_, i) => of.reduce((sum, matrix) => sum + weightsOf(matrix) * matrix.costs[i]!, 0)),
  }));
  const found = cheapestShares(pattern.remove.fraction, shares, curves);
  return new Map(
    [...layers.values()].flatMap((of, i) => {
      const own: Pruning = { ...prune, pattern: { ...pattern, remove: { fraction: found[i]! } } };
      return of.map(({ tensor }) => [tensor.name, own] as const);
    }),
  );
}
