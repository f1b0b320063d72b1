import { OutOfMemoryError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { poolSize } from '../gpu/buffer-pool.ts';
import type { Graph } from '../graph/graph.ts';
import { CHUNK_BYTES, findWeight } from '../passes/stored-weight.ts';
import type { BlockPlan, GpuLimits } from './block-plan.ts';
import type { Graphs } from './compare-models.ts';
import type { Report } from './report-schema.ts';
import {
  integerWeights,
  type LoadedShape,
  loadedBytes,
  type RunShape,
  runBytes,
  totalOf,
  UNIFORM_BYTES,
} from './run-bytes.ts';
import type { WeightPair } from './sizes.ts';

/** Tokens that the speed measurement takes in and writes. */
export interface SpeedShape {
  readonly prefillTokens: number;
  readonly decodeTokens: number;
}

/** Three decoders that are timed in turn, the third with some weights whose products are of `integer`s, each with its prompt and its one-token batch; one at a time writes. */
export function speedRunBytes(
  { original, compressed }: Graphs,
  { prefillTokens, decodeTokens }: SpeedShape,
  integer: NonNullable<RunShape['integer']>,
): number {
  const positions = prefillTokens + decodeTokens;
  const one = (graph: Graph, only: Pick<RunShape, 'integer'> = {}) => {
    const prefill = runBytes(graph, { tokens: prefillTokens, positions, lastOnly: true, ...only });
    const decode = runBytes(graph, { tokens: 1, positions, lastOnly: true, ...only });
    return totalOf(prefill) + decode.activations;
  };
  const writing = Math.max(original.operations.length, compressed.operations.length) * UNIFORM_BYTES;
  return 2 * one(original) + one(compressed, { integer }) + poolSize(writing);
}

/** Pooled bytes of all weights of a graph. `shape` says how those of each role are loaded; undefined: not at all. */
export function modelBytes(
  checkpoint: Checkpoint,
  graph: Graph,
  shape: (role: LoadedShape['role']) => Omit<LoadedShape, 'role'> | undefined = () => ({}),
): number {
  return graph.weights.reduce((sum, { name, role }) => {
    const how = shape(role);
    return how ? sum + loadedBytes(findWeight(checkpoint, name), { role, ...how }) : sum;
  }, 0);
}

export interface VerificationShape {
  readonly checkpoints: { readonly original: Checkpoint; readonly compressed: Checkpoint };
  readonly graphs: Graphs;
  readonly pairs: readonly WeightPair[];
  /** Whether there are two models. */
  readonly compares: boolean;
  readonly blocks: BlockPlan;
  readonly limits: GpuLimits;
  /** Undefined leaves the speed out. */
  readonly speed: SpeedShape | undefined;
  /** Of the synthetic layers; null without them. */
  readonly stack: number | null;
}

export interface MemoryEstimate {
  readonly memory: Report['memory'];
  /** Of the speed of the model, whose weights are all on the GPU: 0 without it. */
  readonly speedBytes: number;
}

/** Estimates a verification's memory from headers alone. */
export function estimateMemory(shape: VerificationShape): MemoryEstimate {
  const { checkpoints, graphs, pairs, compares, blocks, speed, limits } = shape;
  const { binding } = limits;
  const compressed = compares ? modelBytes(checkpoints.compressed, graphs.compressed, () => ({ binding })) : 0;
  let speedBytes = 0;
  if (speed) {
    const only = (linear: boolean, dense?: 'f32' | 'f16') =>
      modelBytes(checkpoints.original, graphs.original, (role) =>
        (role === 'linear') === linear ? { binding, ...(dense && { dense }) } : undefined,
      );
    speedBytes =
      only(false) +
      only(true, 'f32') +
      only(true, 'f16') +
      compressed +
      speedRunBytes(graphs, speed, integerWeights(checkpoints.compressed));
  }
  const { peak, runs } = blocks;
  return {
    memory: {
      gpu: {
        peak: Math.max(peak.bytes, speedBytes <= limits.budget ? speedBytes : 0),
        weights: { original: modelBytes(checkpoints.original, graphs.original, () => ({ binding })), compressed },
        caches: runs.caches,
        activations: runs.activations,
        stack: shape.stack,
      },
      host: chunkBytes(pairs) + blocks.hostBytes,
    },
    speedBytes,
  };
}

/** Memory of a comparison of sizes and weight errors alone: none on the GPU. */
export function estimateSizesOnly(pairs: readonly WeightPair[]): Report['memory'] {
  const gpu = { peak: 0, weights: { original: 0, compressed: 0 }, caches: 0, activations: 0, stack: null };
  return { gpu, host: chunkBytes(pairs) };
}

/** The largest chunk of a tensor as it is stored and as f32, of both models. */
const chunkBytes = (pairs: readonly WeightPair[]): number =>
  Math.max(
    0,
    ...pairs.map(({ original: { shape } }) =>
      Math.min(4 * CHUNK_BYTES, 16 * shape.reduce((product, n) => product * n, 1)),
    ),
  );

/**
 * Refuses what can't run, however a model is cut: one weight that does not fit by itself, or windows that are too long.
 * @throws OutOfMemoryError that names the tensor, or says which window would do
 */
export function checkMemory({ peak, runs, streams }: BlockPlan, { budget, binding }: GpuLimits): void {
  const tokens = streams.original.windows[0]!.length;
  if (runs.largest > binding) {
    const fits = Math.floor((binding / runs.largest) * tokens);
    throw new OutOfMemoryError(
      `A window of ${tokens} tokens needs a buffer of ${runs.largest} bytes; this device allows ${binding}. Use a --window of at most ${fits} tokens.`,
    );
  }
  if (peak.bytes <= budget) return;
  const raise = 'Raise it (--gpu-memory on the command line, else memoryBudget)';
  if (peak.weight && peak.weights > budget) {
    throw new OutOfMemoryError(
      `The weight "${peak.weight.name}" takes ${peak.weight.bytes} bytes on the GPU; the budget is ${budget}. ${raise}.`,
    );
  }
  const needs = peak.weight
    ? `The operation of the weight "${peak.weight.name}" (${peak.weight.bytes} bytes)`
    : 'An operation without weights';
  throw new OutOfMemoryError(
    `${needs} takes ${peak.bytes} bytes on the GPU for a window of ${tokens} tokens; the budget is ${budget}. ${raise}, or use a smaller --window.`,
  );
}
