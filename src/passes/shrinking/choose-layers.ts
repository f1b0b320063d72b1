import { randomU32 } from '../../graph/reference/random.ts';
import { largest } from './choose-units.ts';
import { layerImportance } from './layer-importance.ts';
import { type ShrinkWork, type ShrunkLayer, shortened, type WholeModel } from './shrink-model.ts';
import { ranksLayers, type Shrinking } from './shrinking.ts';

/**
 * The layers that stay, ascending: those that change most what goes into them, of equal ones the first.
 * @throws FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function chooseLayers(
  { checkpoint, graph, left }: WholeModel,
  shrinking: Shrinking,
  work: Omit<ShrinkWork, 'notice'>,
): Promise<{ readonly kept: number[]; readonly report: ShrunkLayer }> {
  const { gpu, calibration, signal, onStep } = work;
  const layers = Uint32Array.from({ length: graph.layers }, (_, layer) => layer);
  const importance =
    ranksLayers(shrinking) && calibration
      ? await layerImportance({ gpu, checkpoint, graph }, calibration, signal, onStep)
      : Float64Array.from(layers, (layer) => randomU32(shrinking.seed, layer));
  const kept = [...largest(layers, importance, left)];
  const removed = [...layers].filter((layer) => !kept.includes(layer));
  return {
    kept,
    report: { structure: 'layers', units: graph.layers, removed, importance: Array.from(importance, shortened) },
  };
}
