import type { Gpu } from '../../gpu/gpu.ts';
import { outputFormat } from '../compress-matrix.ts';
import type { PlannedTensor } from '../plan.ts';
import type { Prepared } from '../prepare.ts';
import { type Density, DensityCount } from './density.ts';
import { modelThresholds, prunedSlices } from './pruned-slices.ts';
import type { Pruning } from './pruning.ts';

/** What masks would be like. */
export interface MaskPreview {
  /** Of a matrix of each shape and pattern. */
  readonly masks: readonly ({ readonly name: string; readonly pattern: string } & Density)[];
  /** How long choosing those of all matrices takes, about. */
  readonly seconds: number;
}

/**
 * Chooses masks of some matrices by magnitude, whatever their score: other scores and repair need the whole calibration. Writes nothing.
 * @throws as `compress` does
 */
export async function previewMasks(
  { checkpoint, plan }: Pick<Prepared, 'checkpoint' | 'plan'>,
  gpu: Gpu,
  signal?: AbortSignal,
): Promise<MaskPreview> {
  const rules = new Map<Pruning, Pruning>();
  const pruned = plan.apart.flatMap((tensor) => (tensor.prune ? [byMagnitude(tensor, tensor.prune, rules)] : []));
  const shown = new Map<string, PlannedTensor>();
  for (const tensor of pruned) {
    const key = `${tensor.weight.shape} ${tensor.prune!.text}`;
    if (!shown.has(key)) shown.set(key, tensor);
  }
  const weightsOf = (tensors: Iterable<PlannedTensor>) =>
    [...tensors].reduce((sum, { weight }) => sum + weight.shape[0]! * weight.shape[1]!, 0);
  const from = { gpu, checkpoint, ...(signal && { signal }) };
  const before = performance.now();
  const thresholds = await modelThresholds(from, pruned, outputFormat);
  const compared = performance.now() - before;
  const masks: MaskPreview['masks'][number][] = [];
  let chosen = 0;
  try {
    for (const tensor of shown.values()) {
      const [rows, k] = tensor.weight.shape as [number, number];
      const count = new DensityCount(rows, k);
      const start = performance.now();
      const threshold = thresholds.get(tensor.prune!);
      for await (const slice of prunedSlices(from, tensor, outputFormat(tensor), {}, threshold)) {
        const bytes = await gpu.readBack(slice.view.buffer, slice.view.offset ?? 0, 4 * slice.rows * k);
        count.add(slice.rowStart, new Float32Array(bytes.buffer));
      }
      chosen += performance.now() - start;
      masks.push({ name: tensor.name, pattern: tensor.prune!.text, ...count.result });
    }
  } finally {
    for (const threshold of thresholds.values()) threshold.release();
  }
  const share = weightsOf(pruned) / Math.max(1, weightsOf(shown.values()));
  return { masks, seconds: (compared + chosen * share) / 1000 };
}

/** @param rules of which tensors keep one object in common, by which their thresholds are found */
function byMagnitude(tensor: PlannedTensor, prune: Pruning, rules: Map<Pruning, Pruning>): PlannedTensor {
  const { text, pattern } = prune;
  const plain = rules.get(prune) ?? { text, pattern, score: 'magnitude', repair: 'none' };
  rules.set(prune, plain);
  return { ...tensor, prune: plain };
}
