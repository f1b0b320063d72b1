import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Graph, Operation, ValueName } from '../graph/graph.ts';
import { inputsOf } from '../graph/inputs.ts';
import { embedding } from '../graph/reference/embedding.ts';
import { quantizedActivations } from '../graph/reference/integer-linear.ts';
import { linear } from '../graph/reference/linear.ts';
import { softCap } from '../graph/reference/soft-cap.ts';
import { ReferenceRun } from '../graph/reference.ts';
import { type Segment, segmentGraph, weightsOfOperation } from '../graph/segments.ts';
import type { RowRange } from '../passes/load-weights.ts';
import { chunkRows, findWeight, readActivationRange, readValues } from '../passes/stored-weight.ts';

/** Others get the thread at least this often, where a row of a chunk takes no longer: Ctrl-C, a page's events. */
const YIELD_MILLISECONDS = 30;

/** Default of `chunkBytes`. */
const CHUNK_BYTES = 16 * 1024 * 1024;

export interface ReferenceOptions {
  /** Bytes of a matrix in f32 that are in memory at a time, or eight rows where those take more. Default: 16 MiB. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * The f64 reference over the dequantized weights of a checkpoint, for tokens from position 0 on: block by block, with a piece of one weight in
 * memory at a time, so that a model of any size can be checked.
 */
export class ReferenceBlocks {
  readonly #checkpoint: Checkpoint;
  readonly #graph: Graph;
  readonly #tokens: readonly number[];
  readonly #chunkBytes: number;
  readonly #signal: AbortSignal | undefined;
  #values = new Map<ValueName, Float64Array>();
  #seen = new Map<ValueName, Float32Array>();
  #rested = performance.now();

  constructor(checkpoint: Checkpoint, graph: Graph, tokens: readonly number[], options: ReferenceOptions = {}) {
    this.#checkpoint = checkpoint;
    this.#graph = graph;
    this.#tokens = tokens;
    this.#chunkBytes = options.chunkBytes ?? CHUNK_BYTES;
    this.#signal = options.signal;
  }

  /**
   * Computes a segment that is not the head. `seen` are the values that the GPU made of it: products of integers round with them where it is a tie.
   * @throws FileError, CancelledError
   */
  async run(segment: Segment, seen: ReadonlyMap<ValueName, Float32Array> = new Map()): Promise<void> {
    this.#seen = new Map([...this.#seen, ...seen]);
    for (let index = segment.from; index < segment.to; index++) {
      const operation = this.#graph.operations[index]!;
      this.#values.set(operation.out, await this.#compute(operation, index));
    }
    const { live } = segment;
    this.#values = new Map([...this.#values].filter(([name]) => live.includes(name)));
    this.#seen = new Map([...this.#seen].filter(([name]) => live.includes(name)));
  }

  /** The logits of a slice of the vocabulary: tokens × its size. @throws FileError, CancelledError */
  async logits(slice: RowRange): Promise<Float64Array> {
    return this.#linear(this.#graph.operations.at(-1) as Operation & { op: 'linear' }, slice);
  }

  async #compute(operation: Operation, index: number): Promise<Float64Array> {
    const width = this.#graph.values[operation.out]!;
    if (operation.op === 'linear') return this.#linear(operation, { start: 0, count: width });
    const out = new Float64Array(this.#tokens.length * width);
    if (operation.op === 'embedding') {
      for (const [row, token] of this.#tokens.entries()) {
        out.set(
          embedding([0], await this.#read(operation.weight, { start: token, count: 1 }), width, operation.scale),
          row * width,
        );
      }
      return out;
    }
    const weights = new Map<string, Float32Array>();
    for (const name of weightsOfOperation(operation)) weights.set(name, await this.#read(name));
    const run = new ReferenceRun(
      segmentGraph(this.#graph, { from: index, to: index + 1 }),
      (name) => weights.get(name)!,
    );
    // A token at a time, so that no call takes long.
    for (const [row, token] of this.#tokens.entries()) {
      await this.#rest();
      const inputs = new Map(inputsOf(operation).map((name) => [name, this.#row(name, row)]));
      out.set(run.forward([token], { inputs }), row * width);
    }
    return out;
  }

  /** Some columns of the result of a matrix: tokens × their count. */
  async #linear(operation: Operation & { op: 'linear' }, { start, count }: RowRange): Promise<Float64Array> {
    const k = this.#graph.values[operation.x]!;
    const out = new Float64Array(this.#tokens.length * count);
    const x = await this.#inputOf(operation);
    const step = chunkRows(4 * k, this.#chunkBytes);
    for (let at = 0; at < count; at += step) {
      const rows = { start: start + at, count: Math.min(step, count - at) };
      const weight = await this.#read(operation.weight, rows);
      const bias = operation.bias === undefined ? undefined : await this.#read(operation.bias, rows);
      for (let row = 0; row < this.#tokens.length; row++) {
        await this.#rest();
        out.set(linear(x.subarray(row * k, (row + 1) * k), weight, k, bias), row * count + at);
      }
    }
    return operation.softCap === undefined ? out : softCap(out, operation.softCap);
  }

  /** What a matrix is multiplied with: in int8 where its format says so. */
  async #inputOf({ x, weight }: Operation & { op: 'linear' }): Promise<Float64Array> {
    const values = this.#values.get(x)!;
    const stored = findWeight(this.#checkpoint, weight);
    const range = await readActivationRange(this.#checkpoint, stored, this.#signal);
    return range ? quantizedActivations(values, this.#graph.values[x]!, range, this.#seen.get(x)) : values;
  }

  #row(name: ValueName, row: number): Float64Array {
    const width = this.#graph.values[name]!;
    return this.#values.get(name)!.subarray(row * width, (row + 1) * width);
  }

  #read(name: string, rows?: RowRange): Promise<Float32Array> {
    const stored = findWeight(this.#checkpoint, name);
    return readValues(this.#checkpoint, stored, rows?.start, rows?.count, this.#signal);
  }

  async #rest(): Promise<void> {
    checkCancelled(this.#signal, 'The verification');
    if (performance.now() - this.#rested <= YIELD_MILLISECONDS) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.#rested = performance.now();
  }
}
