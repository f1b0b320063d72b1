import type { Checkpoint } from '../../files/checkpoint.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Graph } from '../../graph/graph.ts';
import { cutGraph } from '../../graph/segments.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { runSegment, type Values } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';

/**
 * What each layer changes: 1 − the cosine of what goes into it and what comes out, in the mean over tokens (Men et al., "ShortGPT", 2024).
 * @throws FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function layerImportance(
  { gpu, checkpoint, graph }: { readonly gpu: Gpu; readonly checkpoint: Checkpoint; readonly graph: Graph },
  { windows }: Calibration,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const importance = new Float64Array(graph.layers);
  const source = checkpointSource(gpu, checkpoint, signal);
  const end = graph.layerRanges.at(-1)![1];
  let values: Values = windows.map(() => new Map());
  for (const segment of cutGraph(graph)) {
    if (segment.to > end) break;
    const made = await runSegment({ gpu, graph, source, windows, ...(signal && { signal }) }, segment, values);
    if (segment.layer !== null) {
      const width = graph.values[segment.outputs[0]!]!;
      const cosines = values.map((before, i) =>
        meanCosine(before.get(segment.inputs[0]!)!, made[i]!.get(segment.outputs[0]!)!, width),
      );
      importance[segment.layer] = 1 - cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
    }
    values = made;
  }
  return importance;
}

/** Of rows of two matrices, in the mean; a row of zeros has the cosine 0. */
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
    if (aa > 0 && bb > 0) total += dot / Math.sqrt(aa * bb);
  }
  return total / rows;
}
