import { codeBytes } from '../formats/w8a8.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import { type IntegerActivations, quantizeActivationsStep } from '../kernels/integer-linear.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Graph, ValueName, WeightName } from './graph.ts';

/** Bytes of the codes of the widest input that a product of integers reads; 0 where there is none. */
export function integerInputBytes(graph: Graph, tokens: number, isInteger: (weight: WeightName) => boolean): number {
  const widths = graph.operations.map((operation) =>
    operation.op === 'linear' && isInteger(operation.weight) ? graph.values[operation.x]! : 0,
  );
  return tokens * codeBytes(Math.max(0, ...widths));
}

/**
 * Inputs of products of integers, in int8. One at a time lies on the GPU: operations that follow each other with the same input, as those that make
 * queries, keys and values, find it there.
 */
export class IntegerInputs {
  readonly #gpu: Gpu;
  readonly #threads: number;
  readonly #room: { readonly codes: GPUBuffer; readonly scales: GPUBuffer } | undefined;
  #held: string | undefined;

  /** @throws OutOfMemoryError */
  constructor(gpu: Gpu, graph: Graph, weights: ReadonlyMap<string, Weight>, tokens: number, threads: number) {
    this.#gpu = gpu;
    this.#threads = threads;
    const bytes = integerInputBytes(graph, tokens, (name) => weights.get(name)?.format.activations !== undefined);
    if (bytes === 0) return;
    const codes = gpu.memory.allocate(bytes, 'activations in int8');
    try {
      this.#room = { codes, scales: gpu.memory.allocate(4 * tokens, 'scales of activations') };
    } catch (error) {
      gpu.memory.release(codes);
      throw error;
    }
  }

  get bytes(): number {
    return this.#room ? this.#room.codes.size + this.#room.scales.size : 0;
  }

  /** The value `name`, f32 [tokens, weight.k], as the weight's format takes it, and the step that makes it where it is not there yet. */
  of(name: ValueName, x: BufferView, weight: Weight, tokens: number): { x: IntegerActivations; steps: Step[] } {
    const { codes, scales } = this.#room!;
    const to = { codes: { buffer: codes }, scales: { buffer: scales } };
    const { format, k, parts } = weight;
    const scale = format.activations === 'static' ? parts[0]!.arrays.at(-1)! : undefined;
    // Weights with scales of their own share nothing.
    const key = scale ? undefined : `${tokens} ${name}`;
    if (key !== undefined && key === this.#held) return { x: to, steps: [] };
    this.#held = key;
    const step = quantizeActivationsStep({
      x,
      to,
      tokens,
      k,
      threads: this.#threads,
      ...(scale && { scale: { ...scale, size: 4 } }),
    });
    return { x: to, steps: [step] };
  }

  release(): void {
    if (!this.#room) return;
    this.#gpu.memory.release(this.#room.codes);
    this.#gpu.memory.release(this.#room.scales);
  }
}
