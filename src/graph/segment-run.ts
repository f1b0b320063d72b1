import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import { type Batch, planBatch } from './batch.ts';
import { Decoder } from './decoder.ts';
import type { Graph, ValueName } from './graph.ts';
import type { Segment } from './segments.ts';
import type { VariantChoice } from './variant-choice.ts';

export interface SegmentRunOptions {
  /** Gives every value its own memory and reads all of them back, in the order of the operations. */
  readonly keepValues?: boolean;
  /** Chooses among variants; what it is to know has to be prepared before. */
  readonly tuner?: VariantChoice | undefined;
  /** Steps that run behind those of the operations, on what they made of each window. */
  readonly behind?: (view: (value: ValueName) => BufferView) => readonly Step[];
}

/**
 * A piece of a graph on the GPU, for a fixed number of tokens from position 0 on: caches, activations and room for the values that it
 * reads. The weights belong to the caller.
 */
export class SegmentRun {
  readonly #gpu: Gpu;
  readonly #decoder: Decoder;
  readonly #inputs = new Map<ValueName, BufferView>();
  /** What comes back, and together. */
  readonly #reads: readonly (readonly ValueName[])[];
  readonly #batch: Batch;
  readonly #behind: readonly Step[];
  #recording: Recording | undefined;

  /**
   * `graph` is what `segmentGraph` or `headGraph` makes of the segment.
   * @throws OutOfMemoryError, ModelError
   */
  constructor(
    gpu: Gpu,
    graph: Graph,
    { inputs, outputs }: Pick<Segment, 'inputs' | 'outputs'>,
    weights: ReadonlyMap<string, Weight>,
    tokens: number,
    { keepValues = false, behind, tuner }: SegmentRunOptions = {},
  ) {
    this.#gpu = gpu;
    // All values of a piece take many times the room of the few that it gives on.
    this.#reads = keepValues ? graph.operations.map(({ out }) => [out]) : [outputs];
    this.#decoder = new Decoder(gpu, graph, weights, { maxPositions: tokens, ...(tuner && { tuner }) });
    try {
      for (const name of inputs) {
        const size = graph.values[name]! * tokens * 4;
        this.#inputs.set(name, { buffer: gpu.memory.allocate(size, name), size });
      }
      const given = { inputs: this.#inputs, keep: new Set(outputs), keepValues, fuse: false };
      this.#batch = planBatch(gpu, graph, this.#decoder.buffers, tokens, given);
      this.#behind = behind?.((value) => this.view(value)) ?? [];
    } catch (error) {
      this.#releaseInputs();
      throw error;
    }
  }

  /** For callers that put steps of their own behind them. */
  get steps(): readonly Step[] {
    return this.#batch.steps;
  }

  /** Where a value that the segment gives on lies: f32 [tokens, its width]. */
  view(value: ValueName): BufferView {
    return this.#batch.values.get(value)!;
  }

  /** What the last operation makes: f32 [tokens, its width]. */
  get result(): BufferView {
    return this.#batch.logits;
  }

  /** Brings what the steps read onto the GPU: the ids where an embedding takes them, and the values, f32 [tokens, width] each. */
  upload(values: ReadonlyMap<ValueName, Float32Array>, ids?: Uint32Array): void {
    if (ids) this.#gpu.upload(this.#decoder.buffers.ids.buffer, bytesOf(ids));
    for (const [name, { buffer }] of this.#inputs) this.#gpu.upload(buffer, bytesOf(values.get(name)!));
  }

  /**
   * Runs the segment and reads back what it gives on.
   * @throws OutOfMemoryError, DeviceLostError
   */
  async run(values: ReadonlyMap<ValueName, Float32Array>, ids?: Uint32Array): Promise<Map<ValueName, Float32Array>> {
    this.#recording ??= await this.#gpu.scheduler.record([...this.#batch.steps, ...this.#behind], 'segment');
    this.upload(values, ids);
    this.#recording.submit();
    const results = new Map<ValueName, Float32Array>();
    for (const names of this.#reads) {
      const read = await this.#gpu.readBackAll(names.map((name) => this.#batch.values.get(name)!));
      for (const [i, name] of names.entries()) results.set(name, new Float32Array(read[i]!.buffer));
    }
    return results;
  }

  release(): void {
    this.#recording?.release();
    this.#batch.release();
    this.#releaseInputs();
  }

  #releaseInputs(): void {
    for (const { buffer } of this.#inputs.values()) this.#gpu.memory.release(buffer);
    this.#inputs.clear();
    this.#decoder.release();
  }
}

const bytesOf = (array: Float32Array | Uint32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
