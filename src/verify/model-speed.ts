import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { loadWeights } from '../passes/load-weights.ts';
import type { SpeedShape } from './memory-estimate.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

export interface ModelSpeedArguments {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly checkpoint: Checkpoint;
  /** Weights of the original as they are stored, and of the compressed model. */
  readonly original: ReadonlyMap<string, Weight>;
  readonly compressed: ReadonlyMap<string, Weight>;
}

/**
 * Times the model with its linear matrices in f32, in f16 and compressed; all else is as the original has it, so that only those differ.
 * @throws NonFiniteError for a weight too large for f16, CancelledError, OutOfMemoryError
 */
export async function measureModelSpeed(args: ModelSpeedArguments, options: SpeedShape & SpeedOptions): Promise<Speed> {
  const { gpu, graph, compressed } = args;
  const positions = options.prefillTokens + options.decodeTokens;
  const { signal } = options;
  const made: Weight[] = [];
  const lend = <T>(weights: ReadonlyMap<string, Weight>, work: Parameters<typeof withDecoder<T>>[4]) =>
    withDecoder(gpu, graph, weights, positions, work);
  try {
    const wide = await denseWeights(args, 'f32', made, signal);
    const half = await denseWeights(args, 'f16', made, signal);
    return await lend(wide, (f32) =>
      lend(half, (f16) => lend(compressed, (small) => measureSpeed({ f32, f16, compressed: small }, options))),
    );
  } finally {
    releaseWeights(made);
  }
}

/** The original with its linear matrices in `type`: those that have it are shared, others are loaded and added to `made`. */
async function denseWeights(
  { gpu, graph, checkpoint, original }: ModelSpeedArguments,
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
