import { checkCancelled } from '../files/cancel.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { LogitsError, type ScoreOptions, scoreWindows } from './accuracy.ts';
import type { Notes } from './notes.ts';
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
  readonly notes: Notes;
}

/**
 * Loss increase with only one layer compressed, for each layer in turn, and for what belongs to none where that changed. A layer that
 * gives no numbers is left out, with a note.
 * @throws CancelledError, OutOfMemoryError
 */
export async function measureSensitivity(
  args: SensitivityArguments,
  options: ScoreOptions = {},
): Promise<NonNullable<Report['accuracy']>['sensitivity']> {
  const { gpu, graph, original, compressed, changed, windows, originalLoss, notes } = args;
  const { signal, onProgress } = options;
  const layers = new Map<number | null, string[]>(Array.from({ length: graph.layers }, (_, layer) => [layer, []]));
  for (const { name, layer = null } of graph.weights) {
    if (changed.has(name)) layers.set(layer, [...(layers.get(layer) ?? []), name]);
  }
  const total = [...layers.values()].filter((names) => names.length > 0).length;
  const result: { layer: number | null; lossIncrease: number }[] = [];
  let ran = 0;
  // Those that are not run do not count, or rates would be theirs.
  onProgress?.(0, total);
  for (const [layer, names] of layers) {
    checkCancelled(signal, 'The verification');
    if (names.length === 0) {
      result.push({ layer, lossIncrease: 0 });
      continue;
    }
    const what = layer === null ? 'what belongs to no layer' : `layer ${layer}`;
    const name = `The original with only ${what} compressed`;
    const mixed = new Map(original);
    for (const name of names) mixed.set(name, compressed.get(name)!);
    try {
      const scored = await withDecoder(gpu, graph, mixed, windows[0]!.length, (decoder) =>
        scoreWindows(decoder, decoder, windows, { names: [name, name], ...(signal && { signal }) }),
      );
      result.push({ layer, lossIncrease: Math.log(scored.perplexity.original) - originalLoss });
    } catch (error) {
      if (!(error instanceof LogitsError)) throw error;
      notes.add(`The sensitivity of ${what} was left out. ${error.message}`);
    }
    onProgress?.(++ran, total);
  }
  return result;
}
