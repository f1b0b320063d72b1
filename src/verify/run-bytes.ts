import type { Checkpoint } from '../files/checkpoint.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import { poolSize } from '../gpu/buffer-pool.ts';
import type { Graph, GraphWeight, ValueName, WeightName } from '../graph/graph.ts';
import { inputsOf, lastReads } from '../graph/inputs.ts';
import { integerInputBytes } from '../graph/integer-inputs.ts';
import { splitsOf } from '../kernels/attention-variants.ts';
import { type CacheType, cachePositionBytes } from '../kernels/cache.ts';
import { STATE_BYTES } from '../kernels/state.ts';
import { rowsPerPart } from '../kernels/weight.ts';
import { gpuFormat, type LoadOptions } from '../passes/load-weights.ts';
import { findWeight, matrixShape, type StoredWeight } from '../passes/stored-weight.ts';

/** Uniforms of one recorded operation: WebGPU's largest alignment, twice where an operation takes two steps. */
export const UNIFORM_BYTES = 512;

/** What running a graph takes on the GPU, besides its weights, in bytes. */
export interface RunBytes {
  readonly caches: number;
  readonly activations: number;
  /** Activations as one value, the largest: what has to fit one binding. */
  readonly largest: number;
}

export interface RunShape {
  readonly tokens: number;
  /** Positions of the caches. Default: `tokens`. */
  readonly positions?: number;
  /** Of keys and values. Default: f32. */
  readonly cache?: CacheType;
  /** As in `BatchOptions`. */
  readonly lastOnly?: boolean;
  readonly keepValues?: boolean;
  /** Values that come from outside. */
  readonly inputs?: readonly ValueName[];
  /** Values whose memory is not reused. */
  readonly keep?: readonly ValueName[];
  /** Weights whose products are of integers: room for the widest input in int8. */
  readonly integer?: (weight: WeightName) => boolean;
}

/** Which weights of a checkpoint those are. */
export const integerWeights =
  (checkpoint: Checkpoint) =>
  (name: WeightName): boolean => {
    const stored = findWeight(checkpoint, name);
    return stored.kind === 'quantized' && stored.format.activations !== undefined;
  };

export const totalOf = ({ caches, activations }: RunBytes): number => caches + activations;

/**
 * What a decoder allocates for a batch of tokens: follows `Decoder`, `planBatch` and `SegmentRun`, on sizes instead of buffers. Operations that are launched
 * together take less.
 */
export function runBytes(graph: Graph, shape: RunShape): RunBytes {
  const { tokens, positions = tokens, lastOnly = false, keepValues = false, inputs = [], keep = [] } = shape;
  const last = lastReads(graph);
  const free = new Map<number, number>();
  const tables = new Set<string>();
  let caches = poolSize(positions * 4);
  let activations = poolSize(graph.operations.length * UNIFORM_BYTES) + poolSize(STATE_BYTES);
  let largest = 0;
  let shares = 0;
  const sizeOf = (name: string) => graph.values[name]! * (lastOnly && name === graph.logits ? 1 : tokens) * 4;
  const codes = shape.integer ? integerInputBytes(graph, tokens, shape.integer) : 0;
  if (codes > 0) activations += poolSize(codes) + poolSize(4 * tokens);
  for (const name of inputs) {
    activations += poolSize(sizeOf(name));
    largest = Math.max(largest, sizeOf(name));
  }
  for (const [index, operation] of graph.operations.entries()) {
    if (operation.op === 'attention') {
      const { heads, kvHeads, headDim } = operation;
      caches += 2 * poolSize(positions * cachePositionBytes({ type: shape.cache ?? 'f32', kvHeads, headDim }));
      const splits = splitsOf(tokens, positions);
      if (splits > 1) shares = Math.max(shares, poolSize(4 * tokens * heads * splits * (headDim + 2)));
    }
    if (operation.op === 'rotary') {
      const { inverseFrequencies } = operation.rotary;
      const key = inverseFrequencies.join();
      if (!tables.has(key)) activations += poolSize(8 * inverseFrequencies.length);
      tables.add(key);
    }
    const size = sizeOf(operation.out);
    largest = Math.max(largest, size);
    const ready = free.get(size) ?? 0;
    if (ready > 0) free.set(size, ready - 1);
    else activations += poolSize(size);
    if (keepValues) continue;
    for (const name of new Set(inputsOf(operation))) {
      if (last.get(name) !== index || inputs.includes(name) || keep.includes(name)) continue;
      free.set(sizeOf(name), (free.get(sizeOf(name)) ?? 0) + 1);
    }
  }
  return { caches, activations: activations + shares, largest };
}

/** Pooled bytes of a weight: a little more than its own. `binding`: most bytes of one binding. */
export function pooledBytes(format: Format, rows: number, k: number, binding = Number.POSITIVE_INFINITY): number {
  const most = Math.min(rows, rowsPerPart(format, k, binding));
  const part = (count: number) => format.arrays.reduce((sum, array) => sum + poolSize(arrayBytes(array, count, k)), 0);
  const rest = rows % most;
  return Math.floor(rows / most) * part(most) + (rest > 0 ? part(rest) : 0);
}

export interface LoadedShape extends LoadOptions {
  readonly role: GraphWeight['role'];
  /** Rows of it. Default: all. */
  readonly rows?: number;
  /** Most bytes of one binding. */
  readonly binding?: number;
}

/** Pooled bytes of what `loadWeight` makes of a stored weight. */
export function loadedBytes(stored: StoredWeight, { role, rows, binding, ...options }: LoadedShape): number {
  const how = { ...options, ...(rows !== undefined && { rows }) };
  const format = role === 'norm' || role === 'bias' ? formatByName('f32') : gpuFormat(stored, role, how);
  const shape = matrixShape(stored.shape);
  return stored.shape.length < 2
    ? pooledBytes(format, 1, rows ?? shape.k, binding)
    : pooledBytes(format, rows ?? shape.rows, shape.k, binding);
}
