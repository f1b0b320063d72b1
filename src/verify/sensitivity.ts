import { checkCancelled } from '../files/cancel.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { type ScoreOptions, scoreWindows } from './accuracy.ts';
import type { Report } from './report-schema.ts';
import { withDecoder } from './with-decoder.ts';

export interface SensitivityArguments {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly original: ReadonlyMap<string, Weight>;
  readonly compressed: ReadonlyMap<string, Weight>;
  /** Names of the weights whose values differ; a layer without any costs nothing and is not run. */
  readonly changed: ReadonlySet<string>;
  readonly windows: readonly Uint32Array[];
  /** Mean negative log-likelihood of the original on these windows: known, so that only mixed models run. */
  readonly originalLoss: number;
}

/**
 * Loss increase with only one layer compressed, for each layer in turn, and for what belongs to none where that changed.
 * @throws CancelledError, NonFiniteError, OutOfMemoryError
 */
export async function measureSensitivity(
  args: SensitivityArguments,
  options: ScoreOptions = {},
): Promise<NonNullable<Report['accuracy']>['sensitivity']> {
  const { gpu, graph, original, compressed, changed, windows, originalLoss } = args;
  const { signal, onProgress } = options;
  const layers = new Map<number | null, string[]>(Array.from({ length: graph.layers }, (_, layer) => [layer, []]));
  for (const { name, layer = null } of graph.weights) {
    if (changed.has(name)) layers.set(layer, [...(layers.get(layer) ?? []), name]);
  }
  const result: { layer: number | null; lossIncrease: number }[] = [];
  for (const [layer, names] of layers) {
    checkCancelled(signal, 'The verification');
    let lossIncrease = 0;
    if (names.length > 0) {
      const mixed = new Map(original);
      for (const name of names) mixed.set(name, compressed.get(name)!);
      const scored = await withDecoder(gpu, graph, mixed, windows[0]!.length, (decoder) =>
        scoreWindows(decoder, decoder, windows, signal ? { signal } : {}),
      );
      lossIncrease = Math.log(scored.perplexity.original) - originalLoss;
    }
    result.push({ layer, lossIncrease });
    onProgress?.(result.length, layers.size);
  }
  return result;
}
