import { OutOfMemoryError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import { poolSize } from '../gpu/buffer-pool.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { inputsOf, lastReads } from '../graph/inputs.ts';
import { CHUNK_BYTES, denseFormatOf, matrixShape } from '../passes/stored-weight.ts';
import { REFERENCE_TOKENS } from './check-kernels.ts';
import type { Graphs } from './compare-models.ts';
import type { Report } from './report-schema.ts';
import { bytesOnGpu, type WeightPair } from './sizes.ts';

/** Uniforms of one recorded operation: WebGPU's largest alignment, twice where an operation takes two steps. */
const UNIFORM_BYTES = 512;

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
  /** As in `BatchOptions`. */
  readonly lastOnly?: boolean;
  readonly keepValues?: boolean;
}

/** What a decoder allocates for a batch of tokens: follows `Decoder` and `planBatch`, on sizes instead of buffers. */
export function runBytes(graph: Graph, shape: RunShape): RunBytes {
  const { tokens, positions = tokens, lastOnly = false, keepValues = false } = shape;
  const last = lastReads(graph);
  const free = new Map<number, number>();
  let caches = poolSize(positions * 4);
  let activations = poolSize(graph.operations.length * UNIFORM_BYTES);
  let largest = 0;
  const sizeOf = (name: string) => graph.values[name]! * (lastOnly && name === graph.logits ? 1 : tokens) * 4;
  for (const [index, operation] of graph.operations.entries()) {
    if (operation.op === 'attention') caches += 2 * poolSize(positions * operation.kvHeads * operation.headDim * 4);
    const size = sizeOf(operation.out);
    largest = Math.max(largest, size);
    const ready = free.get(size) ?? 0;
    if (ready > 0) free.set(size, ready - 1);
    else activations += poolSize(size);
    if (keepValues) continue;
    for (const name of new Set(inputsOf(operation))) {
      if (last.get(name) === index) free.set(sizeOf(name), (free.get(sizeOf(name)) ?? 0) + 1);
    }
  }
  return { caches, activations, largest };
}

const total = ({ caches, activations }: RunBytes): number => caches + activations;

/** Pooled bytes of a weight: a little more than its own. */
export const pooledBytes = (format: Format, rows: number, k: number): number =>
  format.arrays.reduce((sum, array) => sum + poolSize(arrayBytes(array, rows, k)), 0);

/** Tokens that the speed measurement takes in and writes. */
export interface SpeedShape {
  readonly prefillTokens: number;
  readonly decodeTokens: number;
}

/** Three decoders that are timed in turn, each with its prompt and its one-token batch; one at a time writes. */
export function speedRunBytes({ original, compressed }: Graphs, { prefillTokens, decodeTokens }: SpeedShape): number {
  const positions = prefillTokens + decodeTokens;
  const one = (graph: Graph) => {
    const prefill = runBytes(graph, { tokens: prefillTokens, positions, lastOnly: true });
    const decode = runBytes(graph, { tokens: 1, positions, lastOnly: true });
    return total(prefill) + decode.activations;
  };
  const writing = Math.max(original.operations.length, compressed.operations.length) * UNIFORM_BYTES;
  return 2 * one(original) + one(compressed) + poolSize(writing);
}

export interface VerificationShape {
  readonly graphs: Graphs;
  readonly pairs: readonly WeightPair[];
  /** Pooled bytes of each model's weights. */
  readonly weights: { readonly original: number; readonly compressed: number };
  /** Whether there are two models. */
  readonly compares: boolean;
  /** Tokens of a window. */
  readonly window: number;
  /** Undefined leaves the speed out. */
  readonly speed: SpeedShape | undefined;
  /** Of the synthetic layers; null without them. */
  readonly stack: number | null;
}

export interface MemoryEstimate {
  readonly memory: Report['memory'];
  /** Bytes on the GPU at each stage's peak. */
  readonly stages: Readonly<Record<string, number>>;
  /** Bytes of the largest activation, and the tokens of the batch that has it. */
  readonly largest: { readonly bytes: number; readonly tokens: number };
}

/** Estimates a verification's memory from headers alone. */
export function estimateMemory(shape: VerificationShape): MemoryEstimate {
  const { graphs, pairs, weights, compares, window, speed } = shape;
  const loaded = pairs.filter((pair) => pair.loaded.original || pair.loaded.compressed);
  const linear = loaded.filter(({ role }) => role === 'linear');
  const sum = (of: (pair: WeightPair) => number, among = loaded) => among.reduce((bytes, pair) => bytes + of(pair), 0);
  const run = runBytes(graphs.original, { tokens: window });
  const other = runBytes(graphs.compressed, { tokens: window });
  const models = weights.original + weights.compressed;
  const stages: Record<string, number> = { accuracy: models + total(run) + (compares ? total(other) : 0) };
  if (compares) {
    const reference = runBytes(graphs.compressed, { tokens: REFERENCE_TOKENS, keepValues: true });
    stages.kernels = models + total(reference) + poolSize(reference.largest);
    stages.control = models + total(other) + sum((pair) => poolSize(bytesOnGpu(pair.compressed, pair.role)), linear);
    stages.sensitivity = models + total(run);
    if (speed) {
      const dense = (['f32', 'f16'] as const).map((type) =>
        sum(({ original: stored }) => {
          const { rows, k } = matrixShape(stored.shape);
          return isStoredAs(stored, type) ? 0 : pooledBytes(formatByName(type), rows, k);
        }, linear),
      );
      stages.speed = models + dense[0]! + dense[1]! + speedRunBytes(graphs, speed);
    }
  }
  const values = sum(({ original: { shape: dims } }) => dims.reduce((product, n) => product * n, 1));
  return {
    memory: {
      gpu: {
        peak: Math.max(...Object.values(stages)),
        weights,
        caches: Math.max(run.caches, other.caches),
        activations: Math.max(run.activations, other.activations),
        stack: shape.stack,
      },
      host: Math.max(chunkBytes(pairs), compares ? 4 * values : 0),
    },
    stages,
    largest: { bytes: Math.max(run.largest, other.largest), tokens: window },
  };
}

/** Memory of a comparison of sizes and weight errors alone: none on the GPU. */
export function estimateSizesOnly(pairs: readonly WeightPair[]): Report['memory'] {
  const gpu = { peak: 0, weights: { original: 0, compressed: 0 }, caches: 0, activations: 0, stack: null };
  return { gpu, host: chunkBytes(pairs) };
}

/** A matrix that lies in the checkpoint as `type` is shared by the decoders instead of loaded again. */
export const isStoredAs = (stored: WeightPair['original'], type: 'f32' | 'f16'): boolean =>
  stored.kind === 'dense' && denseFormatOf(stored.info.type)?.name === type;

/** The largest chunk of a tensor as it is stored and as f32, of both models. */
const chunkBytes = (pairs: readonly WeightPair[]): number =>
  Math.max(
    0,
    ...pairs.map(({ original: { shape } }) =>
      Math.min(4 * CHUNK_BYTES, 16 * shape.reduce((product, n) => product * n, 1)),
    ),
  );

/** @throws OutOfMemoryError that names the stage and what to do, where the estimate exceeds what the GPU may hold. */
export function checkMemory(gpu: Gpu, { memory, stages, largest }: MemoryEstimate): void {
  const most = Math.min(gpu.bindingLimit, gpu.limits.maxBufferSize);
  if (largest.bytes > most) {
    const fits = Math.floor((most / largest.bytes) * largest.tokens);
    throw new OutOfMemoryError(
      `A window of ${largest.tokens} tokens needs a buffer of ${largest.bytes} bytes; this device allows ${most}. Use a --window of at most ${fits} tokens.`,
    );
  }
  const { budget } = gpu.memory;
  if (memory.gpu.peak <= budget) return;
  const stage = Object.keys(stages).find((name) => stages[name] === memory.gpu.peak)!;
  const others = Math.max(...Object.keys(stages).map((name) => (name === 'speed' ? 0 : stages[name]!)));
  const advice =
    stage === 'speed' && others <= budget ? 'leave the speed out (--no-speed)' : 'use a smaller --window or model';
  throw new OutOfMemoryError(
    `The verification would take about ${memory.gpu.peak} bytes on the GPU (${stage}); the budget is ${budget}. Raise it (--gpu-memory on the command line, else memoryBudget), or ${advice}.`,
  );
}
