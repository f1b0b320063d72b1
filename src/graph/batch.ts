import { ModelError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import { addStep } from '../kernels/add.ts';
import { type AttentionVariant, appendStep, attentionStep } from '../kernels/attention.ts';
import { embeddingSteps } from '../kernels/embedding.ts';
import { gatedStep } from '../kernels/gated.ts';
import { hadamardStep } from '../kernels/hadamard.ts';
import { integerLinearSteps } from '../kernels/integer-linear.ts';
import { linearSteps } from '../kernels/linear.ts';
import type { LinearShape } from '../kernels/linear-variants.ts';
import { rmsNormStep } from '../kernels/rms-norm.ts';
import { rotaryStep } from '../kernels/rotary.ts';
import { softCapStep } from '../kernels/soft-cap.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Graph, Operation, ValueName } from './graph.ts';
import { inputsOf, lastReads } from './inputs.ts';
import { IntegerInputs } from './integer-inputs.ts';
import type { AttentionNeed } from './variant-choice.ts';

/** Keys and values of one layer, f32 [maxPositions, kvHeads · headDim] each. */
export interface LayerCache {
  readonly k: BufferView;
  readonly v: BufferView;
}

/** What every batch of a decoder shares on the GPU. */
export interface DecoderBuffers {
  readonly weights: ReadonlyMap<string, Weight>;
  /** Frequency table of each rotary operation, by index of the operation. */
  readonly frequencies: ReadonlyMap<number, BufferView>;
  readonly caches: readonly LayerCache[];
  readonly state: BufferView;
  /** u32 token ids. */
  readonly ids: BufferView;
  readonly maxPositions: number;
  /**
   * The device computes on the CPU: the threads of a workgroup run one after another, so barriers and loads cost and a thread with more
   * work wins; elsewhere threads share rows.
   */
  readonly software: boolean;
  /** Which of `linearVariants`, and of `integerVariants`, multiplies. */
  readonly linearVariant: (shape: LinearShape, format: Format) => string;
  readonly integerVariant: (shape: LinearShape, format: Format) => string;
  readonly attentionVariant: (shape: Omit<AttentionNeed, 'kind' | 'positions'>) => AttentionVariant;
  /** Products of integers take four int8 in one instruction; else they are of floats. */
  readonly packed: boolean;
}

/** The steps that take `tokens` tokens through the graph, and where each value lies. */
export interface Batch {
  readonly steps: readonly Step[];
  /** Index of the operation that each step belongs to. */
  readonly operationOf: readonly number[];
  /** f32 [logitRows, vocabulary] */
  readonly logits: BufferView;
  readonly logitRows: number;
  /** Where each value lies; memory is reused, so a value only holds until its last reader has run. */
  readonly values: ReadonlyMap<ValueName, BufferView>;
  readonly bytes: number;
  /** Frees its activations. */
  release(): void;
}

/** What a batch computes besides the values that its reader needs. */
export interface BatchOptions {
  /** Logits of the last token only, where the device's offset alignment allows it. */
  readonly lastOnly?: boolean;
  /** Gives every value its own memory, so that all can be read afterwards. */
  readonly keepValues?: boolean;
  /** Values that the graph reads and none of its operations makes: f32 [tokens, width]. They are left as they are. */
  readonly inputs?: ReadonlyMap<ValueName, BufferView>;
  /** Values whose memory is not reused. */
  readonly keep?: ReadonlySet<ValueName>;
}

/**
 * Turns a graph into steps for a fixed number of tokens. Values share pooled buffers by lifetime.
 * @throws OutOfMemoryError, ModelError
 */
export function planBatch(
  gpu: Gpu,
  graph: Graph,
  buffers: DecoderBuffers,
  tokens: number,
  options: BatchOptions = {},
): Batch {
  const { inputs } = options;
  const values = new Map<ValueName, BufferView>(inputs);
  const owned: GPUBuffer[] = [];
  const free = new Map<number, GPUBuffer[]>();
  const last = lastReads(graph);
  const threads = buffers.software ? FEW_THREADS : MANY_THREADS;
  const integers = new IntegerInputs(gpu, graph, buffers.weights, tokens, threads);
  const release = () => {
    integers.release();
    for (const buffer of owned) gpu.memory.release(buffer);
  };
  const allocate = (name: ValueName, rows: number): BufferView => {
    const size = graph.values[name]! * rows * 4;
    let buffer = free.get(size)?.pop();
    if (!buffer) {
      buffer = gpu.memory.allocate(size, name);
      owned.push(buffer);
    }
    const view = { buffer, size };
    values.set(name, view);
    return view;
  };
  const steps: Step[] = [];
  const operationOf: number[] = [];
  let logitRows = tokens;
  try {
    for (const [index, operation] of graph.operations.entries()) {
      const isHead = operation.out === graph.logits && operation.op === 'linear';
      let made: Step[];
      if (isHead && options.lastOnly && isAligned(gpu, graph, operation, tokens)) {
        logitRows = 1;
        const row = graph.values[operation.x]! * 4;
        const x = { ...values.get(operation.x)!, offset: (tokens - 1) * row, size: row };
        made = stepsOf(
          operation,
          index,
          buffers,
          integers,
          (name) => (name === operation.x ? x : values.get(name)!),
          allocate(operation.out, 1),
          1,
        );
      } else {
        const out = allocate(operation.out, tokens);
        made = stepsOf(operation, index, buffers, integers, (name) => values.get(name)!, out, tokens);
      }
      const prefix = labelOf(graph, index);
      for (const step of made) {
        steps.push({ ...step, label: `${prefix}${operation.out.replace(/^layers\.\d+\./, '')}` });
        operationOf.push(index);
      }
      if (options.keepValues) continue;
      for (const name of new Set(inputsOf(operation))) {
        if (last.get(name) !== index || inputs?.has(name) || options.keep?.has(name)) continue;
        const { buffer, size } = values.get(name)!;
        free.set(size!, [...(free.get(size!) ?? []), buffer]);
      }
    }
  } catch (error) {
    release();
    throw error;
  }
  const bytes = owned.reduce((sum, buffer) => sum + buffer.size, integers.bytes);
  return { steps, operationOf, logits: values.get(graph.logits)!, logitRows, values, bytes, release };
}

/** Threads for a row where a barrier costs more than the additions that it saves. */
const FEW_THREADS = 8;
const MANY_THREADS = 64;

function isAligned(gpu: Gpu, graph: Graph, operation: Operation & { op: 'linear' }, tokens: number): boolean {
  return ((tokens - 1) * graph.values[operation.x]! * 4) % gpu.limits.minStorageBufferOffsetAlignment === 0;
}

function labelOf(graph: Graph, index: number): string {
  const layer = graph.layerRanges.findIndex(([from, to]) => index >= from && index < to);
  return layer < 0 ? '' : `layer ${layer} `;
}

function stepsOf(
  operation: Operation,
  index: number,
  buffers: DecoderBuffers,
  integers: IntegerInputs,
  value: (name: ValueName) => BufferView,
  out: BufferView,
  tokens: number,
): Step[] {
  const { state, ids, maxPositions } = buffers;
  const weight = (name: string): Weight => {
    const found = buffers.weights.get(name);
    if (!found) throw new ModelError(`The graph needs the weight "${name}", which was not loaded.`);
    return found;
  };
  const vector = (name: string): BufferView => weight(name).parts[0]!.arrays[0]!;
  switch (operation.op) {
    case 'embedding':
      return embeddingSteps({
        ids,
        weight: weight(operation.weight),
        out,
        tokens,
        ...optional({ scale: operation.scale }),
      });
    case 'rms-norm': {
      const width = weight(operation.weight).k;
      return [
        rmsNormStep({
          x: value(operation.x),
          weight: vector(operation.weight),
          out,
          epsilon: operation.epsilon,
          // Heads that are normalized by themselves are rows too.
          tokens: out.size! / 4 / width,
          width,
          ...optional({ offset: operation.offset }),
          ...(buffers.software && { threads: FEW_THREADS }),
        }),
      ];
    }
    case 'linear': {
      const matrix = weight(operation.weight);
      const rest = {
        weight: matrix,
        y: out,
        tokens,
        label: operation.weight,
        ...(operation.bias !== undefined && { bias: vector(operation.bias) }),
      };
      const product = (): Step[] => {
        const shape = { rows: matrix.rows, k: matrix.k, tokens };
        if (!matrix.format.activations) {
          const variant = buffers.linearVariant(shape, matrix.format);
          return linearSteps({ x: value(operation.x), variant, ...rest });
        }
        const { x, steps } = integers.of(operation.x, value(operation.x), matrix, tokens);
        return [
          ...steps,
          ...integerLinearSteps({
            x,
            packed: buffers.packed,
            variant: buffers.integerVariant(shape, matrix.format),
            ...rest,
          }),
        ];
      };
      return [
        ...product(),
        ...(operation.softCap === undefined
          ? []
          : [softCapStep({ y: out, count: out.size! / 4, cap: operation.softCap })]),
      ];
    }
    case 'rotary': {
      const { headDim } = operation.rotary;
      const heads = out.size! / 4 / tokens / headDim;
      const frequencies = buffers.frequencies.get(index)!;
      return [rotaryStep({ x: value(operation.x), frequencies, state, out, tokens, heads, headDim })];
    }
    case 'attention': {
      const { heads, kvHeads, headDim, scale, window, softCap } = operation;
      const { k: kCache, v: vCache } = buffers.caches[operation.cache]!;
      const width = kvHeads * headDim;
      return [
        appendStep({
          k: value(operation.k),
          v: value(operation.v),
          state,
          kCache,
          vCache,
          tokens,
          width,
          maxPositions,
        }),
        attentionStep({
          q: value(operation.q),
          kCache,
          vCache,
          state,
          out,
          tokens,
          heads,
          kvHeads,
          headDim,
          maxPositions,
          scale,
          ...optional({ window, softCap }),
          variant: buffers.attentionVariant({ heads, kvHeads, headDim, tokens }),
        }),
      ];
    }
    case 'gelu-mul':
      return [
        gatedStep({
          activation: 'gelu',
          gate: value(operation.gate),
          up: value(operation.up),
          out,
          count: out.size! / 4,
        }),
      ];
    case 'silu-mul':
      return [
        gatedStep({
          activation: 'silu',
          gate: value(operation.gate),
          up: value(operation.up),
          out,
          count: out.size! / 4,
        }),
      ];
    case 'hadamard':
      return [
        hadamardStep({
          x: value(operation.x),
          out,
          count: out.size! / 4,
          block: operation.block,
          ...(buffers.software && { threads: FEW_THREADS }),
        }),
      ];
    case 'add':
      return [addStep({ a: value(operation.a), b: value(operation.b), out, count: out.size! / 4 })];
  }
}

/** The fields that are set: an argument that is undefined is not the same as one left out. */
function optional<T extends Record<string, number | undefined>>(fields: T): { [K in keyof T]?: number } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: number;
  };
}
