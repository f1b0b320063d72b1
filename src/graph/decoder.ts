import { ArgumentError, OutOfMemoryError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { isSparse } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import { usualAttentionVariant } from '../kernels/attention-variants.ts';
import { type Cache, type CacheType, cachePositionBytes, checkCacheType } from '../kernels/cache.ts';
import { multipliesPacked, usualIntegerVariant } from '../kernels/integer-linear.ts';
import { usualHalfVariant, usualVariant } from '../kernels/linear-variants.ts';
import { loadPackedProducts, packedProducts } from '../kernels/packed-products.ts';
import { rotaryFrequencies } from '../kernels/rotary.ts';
import { STATE_BYTES, stateWords } from '../kernels/state.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import { type Batch, type BatchOptions, type DecoderBuffers, planBatch } from './batch.ts';
import { batchNeeds } from './batch-needs.ts';
import type { Graph } from './graph.ts';
import { checkSums, type Sums, sumsHalves } from './sums.ts';
import { tokensAtOnce } from './tokens-at-once.ts';
import type { VariantChoice } from './variant-choice.ts';

/** How much a decoder holds. */
export interface DecoderOptions {
  /** Positions that the key and value caches hold; default: what the model was made for, up to 4096. */
  readonly maxPositions?: number;
  /** Chooses among variants of kernels. Default: none, which takes the same ones always (`usualVariant`). */
  readonly tuner?: VariantChoice;
  /** How keys and values are kept; default: f32. The others take a half, 9/32 and 5/32 of its memory. */
  readonly cache?: CacheType;
  /**
   * How products of more than four tokens are summed. Default: f32. `f16`, which needs a device with `shader-f16`, multiplies in f16: where subgroups multiply matrices
   * (`Gpu.matrixSides`) sums stay in f32, elsewhere 32 columns at a time are summed in f16 (`half-4`). Perplexity stays within 0.1%, which is a claim, `half-sums`.
   */
  readonly sums?: Sums;
  /** Launches one operation at a time. Default: together what can be; the results agree up to rounding. */
  readonly fuse?: boolean;
}

/** How tokens are taken through the model. */
export interface ForwardOptions extends BatchOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Models made for a hundred thousand positions would fill most GPUs with caches that few texts need. */
const DEFAULT_POSITIONS = 4096;

/** Kinds of prompt batches that keep their recording and activations. */
const MAX_PROMPT_BATCHES = 4;

interface Recorded {
  readonly batch: Batch;
  readonly recording: Recording;
}

/** A graph with its weights on the GPU: caches, state, and one recorded step list for each batch size in use. */
export class Decoder {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly buffers: DecoderBuffers;
  readonly maxPositions: number;
  readonly cache: CacheType;
  readonly #fuse: boolean | undefined;
  readonly #batches = new Map<string, Recorded>();
  readonly #owned: GPUBuffer[] = [];
  readonly #tuner: VariantChoice | undefined;
  readonly #sums: Sums;
  #position = 0;

  /**
   * @throws OutOfMemoryError; ArgumentError for more positions than the model was made for, no type of a cache or of sums; NoDeviceError for sums that the device
   * does not make
   */
  constructor(gpu: Gpu, graph: Graph, weights: ReadonlyMap<string, Weight>, options: DecoderOptions = {}) {
    this.gpu = gpu;
    this.graph = graph;
    const { tuner } = options;
    this.#tuner = tuner;
    this.maxPositions = options.maxPositions ?? Math.min(graph.maxPositions, DEFAULT_POSITIONS);
    if (!(Number.isInteger(this.maxPositions) && this.maxPositions >= 1 && this.maxPositions <= graph.maxPositions)) {
      throw new ArgumentError(
        `Caches for ${this.maxPositions} positions; the model was made for ${graph.maxPositions}: give a whole number from 1 up to that.`,
      );
    }
    this.cache = checkCacheType(options.cache ?? 'f32');
    this.#sums = checkSums(gpu, options.sums ?? 'f32');
    this.#fuse = options.fuse;
    const allocate = (bytes: number, label: string): BufferView => {
      const buffer = gpu.memory.allocate(bytes, label);
      this.#owned.push(buffer);
      return { buffer, size: bytes };
    };
    const caches: Cache[] = [];
    const frequencies = new Map<number, BufferView>();
    const tables = new Map<string, BufferView>();
    try {
      for (const [index, operation] of graph.operations.entries()) {
        if (operation.op === 'attention') {
          const { kvHeads, headDim } = operation;
          const shape = { type: this.cache, kvHeads, headDim };
          const position = cachePositionBytes(shape);
          const bytes = this.maxPositions * position;
          if (bytes > gpu.bindingLimit) {
            throw new OutOfMemoryError(
              `A cache in ${this.cache} for ${this.maxPositions} positions takes ${bytes} bytes; this device binds ${gpu.bindingLimit} at once. Give ${Math.floor(gpu.bindingLimit / position)} positions (maxPositions), or fewer.`,
            );
          }
          caches[operation.cache] = {
            ...{ ...shape, maxPositions: this.maxPositions },
            ...{ k: allocate(bytes, 'key cache'), v: allocate(bytes, 'value cache') },
          };
        }
        if (operation.op === 'rotary') {
          const words = rotaryFrequencies(operation.rotary.inverseFrequencies);
          const key = words.join();
          let table = tables.get(key);
          if (!table) {
            table = allocate(words.byteLength, 'rotary frequencies');
            gpu.upload(table.buffer, new Uint8Array(words.buffer));
            tables.set(key, table);
          }
          frequencies.set(index, table);
        }
      }
      const state = allocate(STATE_BYTES, 'state');
      const ids = allocate(this.maxPositions * 4, 'token ids');
      this.buffers = {
        weights,
        frequencies,
        caches,
        state,
        ids,
        software: gpu.description.software,
        linearVariant: (shape, format) => {
          const tuned = () => tuner?.linear({ kind: 'linear', format, ...shape });
          if (isSparse(format)) return tuned() ?? packedProducts().usualVariantOf(gpu, shape, format);
          if (sumsHalves(this.#sums, format, shape.tokens)) return usualHalfVariant(gpu);
          return tuned() ?? usualVariant(gpu, shape, format);
        },
        integerVariant: (shape, format) =>
          tuner?.linear({ kind: 'linear', format, ...shape }) ?? usualIntegerVariant(gpu, shape),
        attentionVariant: (shape) => {
          const { heads, kvHeads, headDim, tokens, maxPositions: positions, type: cache } = shape;
          const need = { kind: 'attention', heads, kvHeads, headDim, tokens, positions, cache } as const;
          return tuner?.attention(need) ?? usualAttentionVariant(gpu, shape);
        },
        packed: multipliesPacked(gpu),
      };
      gpu.upload(state.buffer, new Uint8Array(stateWords().buffer));
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Tokens that the caches hold. */
  get position(): number {
    return this.#position;
  }

  /** Forgets everything behind `position`. */
  rewind(position = 0): void {
    this.#position = position;
  }

  /**
   * Counts tokens that a recording of the caller's took through the model.
   * @throws ArgumentError when the caches hold fewer
   */
  advance(count: number): void {
    if (this.#position + count > this.maxPositions) {
      throw new ArgumentError(`${this.#position} + ${count} tokens; the caches hold ${this.maxPositions}.`);
    }
    this.#position += count;
  }

  /**
   * Takes tokens through the model and leaves their logits on the GPU: f32 [logitRows, vocabulary], valid until the next batch. With `lastOnly` many tokens go
   * in pieces of up to 512, one behind the other, so that a prompt of any length takes the memory of one piece.
   * @throws ArgumentError when the caches are full or an id lies outside the vocabulary; OutOfMemoryError; CancelledError, between pieces, with the position
   * as it was
   */
  async forward(tokens: ArrayLike<number>, { signal, ...options }: ForwardOptions = {}): Promise<Batch> {
    const count = tokens.length;
    if (count === 0) throw new ArgumentError('There are no tokens to take through the model.');
    if (this.#position + count > this.maxPositions) {
      throw new ArgumentError(
        `${count} tokens${this.#position > 0 ? ` behind ${this.#position} others` : ''} are too many: there is room for ${this.maxPositions}. Shorten the prompt${this.maxPositions < this.graph.maxPositions ? `, or open the model with more maxPositions: it was made for ${this.graph.maxPositions}` : ''}.`,
      );
    }
    const ids = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const id = tokens[i]!;
      if (!Number.isInteger(id) || id < 0 || id >= this.graph.vocabulary) {
        throw new ArgumentError(`Token ${i} is ${id}; the vocabulary has ${this.graph.vocabulary}.`);
      }
      ids[i] = id;
    }
    const { lastOnly = false, keepValues = false } = options;
    const most = lastOnly && !keepValues ? tokensAtOnce(this.graph, this.gpu) : count;
    const start = this.#position;
    try {
      for (let at = 0; ; at += most) {
        checkCancelled(signal, 'Taking tokens through the model');
        const batch = await this.#take(ids.subarray(at, at + most), options);
        if (at + most >= count) return batch;
        // A device that has the next pieces already can't be told to stop.
        if (signal) await this.gpu.idle();
      }
    } catch (error) {
      this.#position = start;
      throw error;
    }
  }

  async #take(ids: Uint32Array<ArrayBuffer>, options: BatchOptions): Promise<Batch> {
    const { batch, recording } = await this.record(ids.length, options);
    this.gpu.upload(this.buffers.ids.buffer, new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
    this.gpu.upload(this.buffers.state.buffer, new Uint8Array(stateWords(this.#position).buffer));
    recording.submit();
    this.#position += ids.length;
    return batch;
  }

  /** The recorded step list for a batch size; made once. */
  async record(tokens: number, options: BatchOptions = {}): Promise<Recorded> {
    const { lastOnly = false, keepValues = false } = options;
    const key = `${tokens} ${lastOnly} ${keepValues} ${options.fuse}`;
    const known = this.#batches.get(key);
    if (known) {
      // The order of the map is that of their use.
      this.#batches.delete(key);
      this.#batches.set(key, known);
      return known;
    }
    await loadPackedProducts([...this.buffers.weights.values()].map(({ format }) => format));
    const fuse = options.fuse ?? this.#fuse;
    const how = { ...options, ...(fuse !== undefined && { fuse: fuse && !options.keepValues }) };
    if (this.#tuner) {
      const needs = batchNeeds(this.gpu, this.graph, this.buffers, tokens, how);
      // Products of f16 are not the tuner's to choose.
      await this.#tuner.prepare(
        needs.filter((need) => need.kind === 'attention' || !sumsHalves(this.#sums, need.format, need.tokens)),
      );
    }
    this.#evict();
    const batch = planBatch(this.gpu, this.graph, this.buffers, tokens, how);
    try {
      const recorded = { batch, recording: await this.gpu.scheduler.record(batch.steps, `${tokens} tokens`) };
      this.#batches.set(key, recorded);
      return recorded;
    } catch (error) {
      batch.release();
      throw error;
    }
  }

  /** Frees the longest unused kind of batch, so that prompts of many lengths do not fill the memory; decoding keeps its own. */
  #evict(): void {
    const prompts = [...this.#batches].filter(([key]) => !key.startsWith('1 '));
    for (const [key, { batch, recording }] of prompts.slice(0, Math.max(0, prompts.length - MAX_PROMPT_BATCHES + 1))) {
      this.#batches.delete(key);
      recording.release();
      batch.release();
    }
  }

  /** Frees caches and activations; the weights belong to the caller. */
  release(): void {
    for (const { batch, recording } of this.#batches.values()) {
      recording.release();
      batch.release();
    }
    this.#batches.clear();
    for (const buffer of this.#owned.splice(0)) this.gpu.memory.release(buffer);
  }
}
