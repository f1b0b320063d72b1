/**
 * The f64 executor on the CPU: it defines what a graph computes, and every kernel is held to it. Plain loops, slow on
 * purpose: a few hundred tokens of a small model, or one layer of a large one.
 */
import { ArgumentError } from '../errors.ts';
import type { Graph, Operation, ValueName, WeightName } from './graph.ts';
import { lastReads } from './inputs.ts';
import { add } from './reference/add.ts';
import type { Numbers } from './reference/array.ts';
import { attention } from './reference/attention.ts';
import { embedding } from './reference/embedding.ts';
import { geluMul } from './reference/gelu-mul.ts';
import { hadamard } from './reference/hadamard.ts';
import { type ActivationRange, quantizedActivations } from './reference/integer-linear.ts';
import { linear } from './reference/linear.ts';
import { rmsNorm } from './reference/rms-norm.ts';
import { rotary } from './reference/rotary.ts';
import { siluMul } from './reference/silu-mul.ts';
import { softCap } from './reference/soft-cap.ts';

export type { Numbers } from './reference/array.ts';

/** How a reference run goes on, and who sees its values. */
export interface ReferenceOptions {
  /** Position of the first token. Default: after everything seen so far. Less than that forgets what came later. */
  readonly startPosition?: number;
  /** Values that the graph reads and none of its operations makes: rows × width. */
  readonly inputs?: ReadonlyMap<ValueName, Float64Array>;
  /** Values that another run made of the same tokens: products of integers round with them where it is a tie (`quantizedActivations`). */
  readonly seen?: ReadonlyMap<ValueName, Numbers>;
  /** Called after each operation with what it wrote: rows × width. The array must not be changed. */
  readonly onValue?: (operationIndex: number, name: ValueName, value: Float64Array) => void;
}

interface Cache {
  keys: Float64Array;
  values: Float64Array;
}

/** One sequence that runs through a graph, with the keys and values of the positions seen so far. */
export class ReferenceRun {
  readonly #graph: Graph;
  readonly #weights: (name: WeightName) => Numbers;
  readonly #ranges: (name: WeightName) => ActivationRange | undefined;
  readonly #lastReads: Map<ValueName, number>;
  readonly #caches = new Map<number, Cache>();
  #position = 0;

  /** `weights` gives a weight's numbers, row-major; it is asked anew at each use, so it may load lazily. `ranges` says which matrices are multiplied in int8. */
  constructor(
    graph: Graph,
    weights: (name: WeightName) => Numbers,
    ranges: (name: WeightName) => ActivationRange | undefined = () => undefined,
  ) {
    this.#graph = graph;
    this.#weights = weights;
    this.#ranges = ranges;
    this.#lastReads = lastReads(graph);
  }

  /** Positions seen so far. */
  get position(): number {
    return this.#position;
  }

  /** The logits after each of `tokens`: tokens × vocabulary. */
  forward(tokens: readonly number[], options: ReferenceOptions = {}): Float64Array {
    const steps = this.forwardSteps(tokens, options);
    for (;;) {
      const { value, done } = steps.next();
      if (done) return value;
    }
  }

  /** The same, an operation at a time, so that a caller can let others have the thread in between. */
  *forwardSteps(
    tokens: readonly number[],
    { startPosition, onValue, inputs, seen }: ReferenceOptions = {},
  ): Generator<void, Float64Array, undefined> {
    const start = startPosition ?? this.#position;
    if (!Number.isSafeInteger(start) || start < 0 || start > this.#position) {
      throw new ArgumentError(`Start position ${start} is not between 0 and ${this.#position}, the positions seen.`);
    }
    const values = new Map<ValueName, Float64Array>(inputs);
    for (const [index, operation] of this.#graph.operations.entries()) {
      const value = this.#run(operation, values, tokens, start, seen);
      values.set(operation.out, value);
      onValue?.(index, operation.out, value);
      for (const name of values.keys()) {
        if (name !== this.#graph.logits && (this.#lastReads.get(name) ?? -1) <= index) values.delete(name);
      }
      yield;
    }
    this.#position = start + tokens.length;
    return values.get(this.#graph.logits)!;
  }

  #run(
    operation: Operation,
    values: Map<ValueName, Float64Array>,
    tokens: readonly number[],
    start: number,
    seen?: ReadonlyMap<ValueName, Numbers>,
  ) {
    const value = (name: ValueName) => values.get(name)!;
    const width = (name: ValueName) => this.#graph.values[name]!;
    switch (operation.op) {
      case 'embedding':
        return embedding(tokens, this.#weights(operation.weight), width(operation.out), operation.scale);
      case 'rms-norm':
        return rmsNorm(value(operation.x), this.#weights(operation.weight), operation.epsilon, operation.offset);
      case 'linear': {
        const bias = operation.bias === undefined ? undefined : this.#weights(operation.bias);
        const k = width(operation.x);
        const range = this.#ranges(operation.weight);
        const given = value(operation.x);
        const x = range ? quantizedActivations(given, k, range, seen?.get(operation.x)) : given;
        const y = linear(x, this.#weights(operation.weight), k, bias);
        return operation.softCap === undefined ? y : softCap(y, operation.softCap);
      }
      case 'rotary':
        return rotary(value(operation.x), width(operation.x), operation.rotary, start);
      case 'attention': {
        const { keys, values: seen } = this.#extend(operation, value(operation.k), value(operation.v), start);
        return attention(value(operation.q), keys, seen, operation);
      }
      case 'gelu-mul':
        return geluMul(value(operation.gate), value(operation.up));
      case 'silu-mul':
        return siluMul(value(operation.gate), value(operation.up));
      case 'hadamard':
        return hadamard(value(operation.x), operation.block);
      case 'add':
        return add(value(operation.a), value(operation.b));
    }
  }

  /** Appends keys and values behind the first `start` positions of the layer's cache. */
  #extend(operation: Operation & { op: 'attention' }, k: Float64Array, v: Float64Array, start: number): Cache {
    const past = this.#caches.get(operation.cache);
    const append = (old: Float64Array | undefined, added: Float64Array) => {
      const kept = start * operation.kvHeads * operation.headDim;
      const all = new Float64Array(kept + added.length);
      if (old) all.set(old.subarray(0, kept));
      all.set(added, kept);
      return all;
    };
    const cache = { keys: append(past?.keys, k), values: append(past?.values, v) };
    this.#caches.set(operation.cache, cache);
    return cache;
  }
}
