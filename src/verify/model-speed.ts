import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import type { Weight } from '../kernels/weight.ts';
import { type LoadOptions, loadWeights } from '../passes/load-weights.ts';
import type { Graphs } from './compare-models.ts';
import type { SpeedShape } from './memory-estimate.ts';
import type { Notes } from './notes.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

export interface ModelSpeedArguments {
  readonly gpu: Gpu;
  readonly graphs: Graphs;
  readonly original: Checkpoint;
  readonly compressed: Checkpoint;
  readonly notes: Notes;
  readonly tuner?: VariantChoice | undefined;
}

/**
 * Times the model with its linear matrices in f32, in f16 and compressed; all else is as the original has it, so that only those differ.
 * Without f16, and with a note, where the weights do not go into it.
 * @throws NonFiniteError, CancelledError, OutOfMemoryError
 */
export async function measureModelSpeed(args: ModelSpeedArguments, options: SpeedShape & SpeedOptions): Promise<Speed> {
  const { gpu, graphs, original, compressed, notes, tuner } = args;
  const positions = options.prefillTokens + options.decodeTokens;
  const { signal } = options;
  const made: Weight[] = [];
  const lend = <T>(graph: Graph, weights: ReadonlyMap<string, Weight>, work: Parameters<typeof withDecoder<T>>[4]) =>
    withDecoder(gpu, graph, weights, { positions, tuner }, work);
  try {
    const load = async (checkpoint: Checkpoint, graph: Graph, options: LoadOptions = {}) => {
      const weights = await loadWeights(gpu, checkpoint, graph, options, signal);
      made.push(...weights.values());
      return weights;
    };
    const only = (isLinear: boolean): Graph => ({
      ...graphs.original,
      weights: graphs.original.weights.filter(({ role }) => (role === 'linear') === isLinear),
    });
    const small = await load(compressed, graphs.compressed);
    const others = await load(original, only(false));
    const dense = async (type: 'f32' | 'f16') =>
      new Map([...others, ...(await load(original, only(true), { dense: type }))]);
    const wide = await dense('f32');
    // A weight can be beyond the range of f16.
    const half = await notes.attempt('The speed in f16', () => dense('f16'));
    return await lend(graphs.original, wide, (f32) =>
      lend(graphs.compressed, small, (compact) =>
        half === null
          ? measureSpeed({ f32, compressed: compact }, options)
          : lend(graphs.original, half, (f16) => measureSpeed({ f32, f16, compressed: compact }, options)),
      ),
    );
  } finally {
    releaseWeights(made);
  }
}
