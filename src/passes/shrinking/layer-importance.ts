import { ArgumentError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Graph } from '../../graph/graph.ts';
import { cutGraph } from '../../graph/segments.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { runSegment, type Values } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';

/**
 * What each layer changes: 1 − the cosine of what goes into it and what comes out, in the mean over tokens (Men et al., "ShortGPT", 2024).
 * @throws ArgumentError for what is no number; FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function layerImportance(
  { gpu, checkpoint, graph }: { readonly gpu: Gpu; readonly checkpoint: Checkpoint; readonly graph: Graph },
  { windows }: Calibration,
  signal?: AbortSignal,
  onWindow?: (done: number, total: number) => void,
): Promise<Float64Array> {
  const importance = new Float64Array(graph.layers);
  const source = checkpointSource(gpu, checkpoint, signal);
  const end = graph.layerRanges.at(-1)![1];
  let values: Values = windows.map(() => new Map());
  const segments = cutGraph(graph).filter(({ to }) => to <= end);
  let done = 0;
  const count = () => onWindow?.(++done, windows.length * segments.length);
  for (const segment of segments) {
    const made = await runSegment({ gpu, graph, source, windows, ...(signal && { signal }) }, segment, values, count);
    if (segment.layer !== null) {
      const width = graph.values[segment.outputs[0]!]!;
      const cosines = values.map((before, i) =>
        meanCosine(before.get(segment.inputs[0]!)!, made[i]!.get(segment.outputs[0]!)!, width),
      );
      importance[segment.layer] = 1 - cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
      if (!Number.isFinite(importance[segment.layer])) {
        throw new ArgumentError(
          `What goes into layer ${segment.layer}, or comes out of it, is not finite: the model computes no numbers on the calibration text.`,
        );
      }
    }
    values = made;
  }
  return importance;
}

/** Of rows of two matrices, in the mean; a row of zeros has the cosine 0, and one that is not finite makes all of it NaN. */
export function meanCosine(a: ArrayLike<number>, b: ArrayLike<number>, width: number): number {
  const rows = a.length / width;
  let total = 0;
  for (let row = 0; row < rows; row++) {
    let [dot, aa, bb] = [0, 0, 0];
    for (let i = row * width; i < (row + 1) * width; i++) {
      dot += a[i]! * b[i]!;
      aa += a[i]! * a[i]!;
      bb += b[i]! * b[i]!;
    }
    total += aa === 0 || bb === 0 ? 0 * (aa + bb) : dot / Math.sqrt(aa * bb);
  }
  return total / rows;
}
