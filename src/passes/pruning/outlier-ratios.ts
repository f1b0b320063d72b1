import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { scoreCountsStep } from '../../kernels/score-counts.ts';
import { denseSlices } from '../dense-slices.ts';
import type { PlannedTensor } from '../plan.ts';
import type { SliceSource } from './pruned-slices.ts';
import type { Pruning } from './pruning.ts';

/** A weight whose score is this many times the mean of its layer's is an outlier. */
const OUTLIER = 5;
/** By how much a layer's sparsity may differ from what all have together. */
const RANGE = 0.08;

/** A matrix whose layer gets a sparsity of its own, and what the columns of its input are like: their mean squares. */
export interface LayerMatrix {
  readonly tensor: PlannedTensor;
  readonly layer: number | undefined;
  readonly meanSquare: Float32Array;
}

/**
 * Sparsity per layer by outlier ratio (OWL, Yin et al. 2023): layers with more weights whose score, |w| · √H_jj, is far above the mean keep more. All together lose
 * what their rule says.
 * @param matrices of one rule
 * @returns how each matrix is pruned, by name
 * @throws NonFiniteError, FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function outlierPrunings(
  source: SliceSource,
  prune: Pruning,
  matrices: readonly LayerMatrix[],
): Promise<Map<string, Pruning>> {
  const { pattern } = prune;
  if (pattern.kind !== 'ranked' || !('fraction' in pattern.remove)) throw new Error('Only shares differ by layer.');
  const layers = new Map<number | undefined, LayerMatrix[]>();
  for (const matrix of matrices) layers.set(matrix.layer, [...(layers.get(matrix.layer) ?? []), matrix]);
  const ratios: number[] = [];
  const sizes: number[] = [];
  for (const of of layers.values()) {
    const size = of.reduce((sum, { tensor }) => sum + tensor.weight.shape[0]! * tensor.weight.shape[1]!, 0);
    const { sum } = await countScores(source, of, Number.POSITIVE_INFINITY);
    const { count } = await countScores(source, of, (OUTLIER * sum) / size);
    ratios.push(count / size);
    sizes.push(size);
  }
  const shares = layerShares(pattern.remove.fraction, ratios, sizes);
  return new Map(
    [...layers.values()].flatMap((of, i) => {
      const own: Pruning = { ...prune, pattern: { ...pattern, remove: { fraction: shares[i]! } } };
      return of.map(({ tensor }) => [tensor.name, own] as const);
    }),
  );
}

/**
 * The share of weights that each layer loses: the more outliers, the less, spread over `RANGE` to both sides of the share that all lose together.
 * @param ratios outliers among the weights of each layer
 * @param sizes weights of each
 */
export function layerShares(fraction: number, ratios: readonly number[], sizes: readonly number[]): number[] {
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)];
  const places = ratios.map((ratio) => (most > least ? (ratio - least) / (most - least) : 0));
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const mean = places.reduce((sum, place, i) => sum + (place * sizes[i]!) / all, 0);
  // Where that would leave nothing of a layer, or all of it, all layers are nearer to each other.
  const furthest = Math.max(...places.map((place) => Math.abs(place - mean)));
  const room = 0.5 * Math.min(fraction, 1 - fraction);
  const range = furthest > 0 ? Math.min(2 * RANGE, room / furthest) : 0;
  return places.map((place) => fraction - range * (place - mean));
}

/** Over all rows of the matrices of a layer. */
async function countScores(
  { gpu, checkpoint, signal }: SliceSource,
  matrices: readonly LayerMatrix[],
  threshold: number,
): Promise<{ readonly sum: number; readonly count: number }> {
  const f32: Format = formatByName('f32');
  let [sum, count] = [0, 0];
  for (const { tensor, meanSquare } of matrices) {
    if (tensor.weight.kind !== 'dense') throw new Error('Only dense matrices are pruned.');
    const roots = meanSquare.map(Math.sqrt);
    for await (const { view, rows, k } of denseSlices(gpu, checkpoint, tensor.weight.info, f32, signal)) {
      const scratch = new Scratch(gpu);
      try {
        const factors = scratch.upload(roots, 'factors of scores');
        const bad = scratch.upload(Uint32Array.of(0), 'bad');
        const [sums, counts] = ['sums', 'counts'].map((name): BufferView => scratch.room(4 * rows, name));
        const of = { source: f32, from: view, rows, k, factors, bad, threshold, sums: sums!, counts: counts! };
        await gpu.scheduler.run([scoreCountsStep(of)], signal && { signal });
        const [a, b] = await gpu.readBackAll([sums!, counts!]);
        sum += new Float32Array(a!.buffer).reduce((total, value) => total + value, 0);
        count += new Uint32Array(b!.buffer).reduce((total, value) => total + value, 0);
      } finally {
        scratch.release();
      }
    }
  }
  return { sum, count };
}
