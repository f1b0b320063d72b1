import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { loadWeights } from '../passes/load-weights.ts';
import type { Graphs } from './compare-models.ts';
import type { SpeedShape } from './memory-estimate.ts';
import type { Notes } from './notes.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

export interface ModelSpeedArguments {
  readonly gpu: Gpu;
  readonly graphs: Graphs;
  readonly checkpoint: Checkpoint;
  /** Weights of the original as they are stored, and of the compressed model. */
  readonly original: ReadonlyMap<string, Weight>;
  readonly compressed: ReadonlyMap<string, Weight>;
  readonly notes: Notes;
}

/**
 * Times the model with its linear matrices in f32, in f16 and compressed; all else is as the original has it, so that only those differ.
 * Without f16, and with a note, where the weights do not go into it.
 * @throws NonFiniteError, CancelledError, OutOfMemoryError
 */
export async function measureModelSpeed(args: ModelSpeedArguments, options: SpeedShape & SpeedOptions): Promise<Speed> {
  const { gpu, graphs, compressed, notes } = args;
  const positions = options.prefillTokens + options.decodeTokens;
  const { signal } = options;
  const made: Weight[] = [];
  const lend = <T>(graph: Graph, weights: ReadonlyMap<string, Weight>, work: Parameters<typeof withDecoder<T>>[4]) =>
    withDecoder(gpu, graph, weights, positions, work);
  try {
    const wide = await denseWeights(args, 'f32', made, signal);
    // A weight can be beyond the range of f16.
    const half = await notes.attempt('The speed in f16', () => denseWeights(args, 'f16', made, signal));
    return await lend(graphs.original, wide, (f32) =>
      lend(graphs.compressed, compressed, (small) =>
        half === null
          ? measureSpeed({ f32, compressed: small }, options)
          : lend(graphs.original, half, (f16) => measureSpeed({ f32, f16, compressed: small }, options)),
      ),
    );
  } finally {
    releaseWeights(made);
  }
}

/** The original with its linear matrices in `type`: those that have it are shared, others are loaded and added to `made`. */
async function denseWeights(
  { gpu, graphs: { original: graph }, checkpoint, original }: ModelSpeedArguments,
  type: 'f32' | 'f16',
  made: Weight[],
  signal?: AbortSignal,
): Promise<Map<string, Weight>> {
  const missing = graph.weights.filter(
    ({ name, role }) => role === 'linear' && original.get(name)!.format.name !== type,
  );
  const loaded = await loadWeights(gpu, checkpoint, { ...graph, weights: missing }, { dense: type }, signal);
  made.push(...loaded.values());
  return new Map([...original, ...loaded]);
}
