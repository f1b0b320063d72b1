import { formatByName } from '../../formats/registry.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { denseSlices } from '../dense-slices.ts';
import type { PlannedTensor } from '../plan.ts';
import { copyView, pruneRows } from './prune-rows.ts';
import type { SliceSource } from './pruned-slices.ts';
import type { Pruning } from './pruning.ts';

/** How far a layer's share may be from what all lose together, and how many shares are measured to either side. */
const RANGE = 0.16;
const STEPS = 2;

/** What pruning a matrix costs at some shares, relative to leaving it out. */
export interface MatrixCosts {
  readonly tensor: PlannedTensor;
  readonly layer: number | undefined;
  /** tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), by share. */
  readonly costs: readonly number[];
}

/** The shares at which costs are measured, ascending: as far to both sides of the share that all lose together. */
export function sharesAround(fraction: number): number[] {
  const range = Math.min(RANGE, 0.5 * fraction, 0.5 * (1 - fraction));
  return Array.from({ length: 2 * STEPS + 1 }, (_, i) => fraction + (range * (i - STEPS)) / STEPS);
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

/**
 * Shares whose costs add up to the least, the costs between two measured shares being on a line: the lower convex hull of each layer's costs is gone along, the step that costs least
 * for the weights that it removes first, until all that has to go is gone.
 * @param fraction of all weights that goes
 * @param shares at which costs were measured, ascending, around `fraction`
 */
export function cheapestShares(
  fraction: number,
  shares: readonly number[],
  layers: readonly { readonly size: number; readonly costs: readonly number[] }[],
): number[] {
  const steps = layers.flatMap(({ size, costs }, layer) => {
    const hull = lowerHull(shares, costs);
    return hull.slice(1).map((at, i) => {
      const from = hull[i]!;
      const weights = size * (shares[at]! - shares[from]!);
      return { layer, to: at, from, weights, slope: (costs[at]! - costs[from]!) / weights };
    });
  });
  // Of equal slopes the first layer goes first; within a layer slopes ascend.
  steps.sort((a, b) => a.slope - b.slope || a.layer - b.layer || a.from - b.from);
  const found = layers.map(() => shares[0]!);
  let left = layers.reduce((sum, { size }) => sum + size, 0) * (fraction - shares[0]!);
  for (const { layer, from, to, weights } of steps) {
    const part = Math.min(1, left / weights);
    if (part <= 0) break;
    found[layer] = shares[from]! + part * (shares[to]! - shares[from]!);
    left -= part * weights;
  }
  return found;
}

/** Indices of the points of a function that no line between two others goes below. */
function lowerHull(x: readonly number[], y: readonly number[]): number[] {
  const hull: number[] = [];
  for (const at of x.keys()) {
    while (hull.length >= 2) {
      const [a, b] = hull.slice(-2) as [number, number];
      if ((y[b]! - y[a]!) * (x[at]! - x[a]!) < (y[at]! - y[a]!) * (x[b]! - x[a]!)) break;
      hull.pop();
    }
    hull.push(at);
  }
  return hull;
}
