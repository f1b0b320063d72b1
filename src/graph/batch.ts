import { OutOfMemoryError } from '../errors.ts';
import { type Format, isSparse } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import type { AttentionShape } from '../kernels/attention-variants.ts';
import type { Cache } from '../kernels/cache.ts';
import type { LinearShape } from '../kernels/linear-variants.ts';
import { type StackLimits, stackLimits } from '../kernels/stack-weights.ts';
import type { Weight } from '../kernels/weight.ts';
import { fuseGraph, lastReadsOf, type OperationOf, unfused } from './fuse.ts';
import { fusedSteps } from './fused-steps.ts';
import type { Graph, Operation, ValueName } from './graph.ts';
import { IntegerInputs } from './integer-inputs.ts';
import { FEW_THREADS, type StepContext } from './operation-steps.ts';
import { stackedProducts } from './term-steps.ts';

/** What every batch of a decoder shares on the GPU. */
export interface DecoderBuffers {
  readonly weights: ReadonlyMap<string, Weight>;
  /** Frequency table of each rotary operation, by index of the operation. */
  readonly frequencies: ReadonlyMap<number, BufferView>;
  /** Of each layer. */
  readonly caches: readonly Cache[];
  readonly state: BufferView;
  /** u32 token ids. */
  readonly ids: BufferView;
  /**
   * The device computes on the CPU: the threads of a workgroup run one after another, so barriers and loads cost and a thread with more
   * work wins; elsewhere threads share rows.
   */
  readonly software: boolean;
  /** Which of `linearVariants` multiplies. */
  readonly linearVariant: (shape: LinearShape, format: Format) => string;
  /** Which of `integerVariants` multiplies. */
  readonly integerVariant: (shape: LinearShape, format: Format) => string;
  /** Which of `attentionVariants` serves. */
  readonly attentionVariant: (shape: AttentionShape & Pick<Cache, 'type'>) => string;
  /** Products of integers take four int8 in one instruction; else they are of floats. */
  readonly packed: boolean;
}

/** The steps that take `tokens` tokens through the graph, and where each value lies. */
export interface Batch {
  readonly steps: readonly Step[];
  /** f32 [logitRows, vocabulary] */
  readonly logits: BufferView;
  readonly logitRows: number;
  /** Where each value lies that is made at all; memory is reused, so a value only holds until its last reader has run. */
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
  /** Launches together what can be (`fuseGraph`). Default: unless values are kept. */
  readonly fuse?: boolean;
}

/** What a plan by itself may have besides. */
export interface PlanOptions extends BatchOptions {
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
  options: PlanOptions = {},
): Batch {
  const { inputs, keepValues = false, fuse = !keepValues } = options;
  const keep = new Set([...(inputs?.keys() ?? []), ...(options.keep ?? [])]);
  const limits = stackLimits(gpu);
  const groups = fuse
    ? fuseGraph(graph, { keep, gates: (gate, up) => gates(buffers.weights, gate, up, limits) })
    : unfused(graph);
  const values = new Map<ValueName, BufferView>(inputs);
  const owned: GPUBuffer[] = [];
  const free = new Map<number, GPUBuffer[]>();
  const last = lastReadsOf(groups);
  const threads = buffers.software ? FEW_THREADS : MANY_THREADS;
  const integers = new IntegerInputs(gpu, graph, buffers.weights, tokens, threads);
  const release = () => {
    integers.release();
    for (const buffer of owned) gpu.memory.release(buffer);
  };
  const take = (size: number, label: string): BufferView => {
    if (size > gpu.bindingLimit) {
      throw new OutOfMemoryError(
        `"${label}" of ${tokens} tokens takes ${size} bytes; this device binds ${gpu.bindingLimit} at once. Take fewer tokens at a time.`,
      );
    }
    let buffer = free.get(size)?.pop();
    if (!buffer) {
      buffer = gpu.memory.allocate(size, label);
      owned.push(buffer);
    }
    return { buffer, size };
  };
  const giveBack = ({ buffer, size }: BufferView) => free.set(size!, [...(free.get(size!) ?? []), buffer]);
  const steps: Step[] = [];
  let logitRows = tokens;
  try {
    for (const group of groups) {
      const { index, out, reads } = group;
      const rooms: BufferView[] = [];
      const room = (words: number, label: string) => {
        rooms.push(take(4 * words, label));
        return rooms.at(-1)!;
      };
      let context: StepContext = { buffers, integers, tokens, value: (name) => values.get(name)!, room };
      const head = group.kind === 'single' && out === graph.logits ? group.operation : undefined;
      if (head?.op === 'linear' && options.lastOnly && isAligned(gpu, graph, head, tokens)) {
        logitRows = 1;
        const row = graph.values[head.x]! * 4;
        const x = { ...values.get(head.x)!, offset: (tokens - 1) * row, size: row };
        context = { ...context, tokens: 1, value: (name) => (name === head.x ? x : values.get(name)!) };
      }
      const onto = group.kind === 'added' ? group.onto : undefined;
      const view = onto === undefined ? take(graph.values[out]! * context.tokens * 4, out) : values.get(onto)!;
      values.set(out, view);
      const prefix = labelOf(graph, index);
      for (const step of fusedSteps(context, group, view, limits)) {
        steps.push({ ...step, label: `${prefix}${out.replace(/^layers\.\d+\./, '')}` });
      }
      for (const one of rooms) giveBack(one);
      if (keepValues) continue;
      for (const name of new Set(reads)) {
        if (last.get(name) === index && name !== onto && !keep.has(name)) giveBack(values.get(name)!);
      }
    }
  } catch (error) {
    release();
    throw error;
  }
  const bytes = owned.reduce((sum, buffer) => sum + buffer.size, integers.bytes);
  return { steps, logits: values.get(graph.logits)!, logitRows, values, bytes, release };
}

/** Products of floats with dense columns only: others can't be gated. */
function gates(
  weights: ReadonlyMap<string, Weight>,
  gate: OperationOf<'linear'>,
  up: OperationOf<'linear'>,
  limits: StackLimits,
): boolean {
  const stacked = stackedProducts(weights, [gate, up], limits);
  return stacked !== undefined && !stacked.weight.format.activations && !isSparse(stacked.weight.format);
}

const MANY_THREADS = 64;

function isAligned(gpu: Gpu, graph: Graph, operation: Operation & { op: 'linear' }, tokens: number): boolean {
  return ((tokens - 1) * graph.values[operation.x]! * 4) % gpu.limits.minStorageBufferOffsetAlignment === 0;
}

function labelOf(graph: Graph, index: number): string {
  const layer = graph.layerRanges.findIndex(([from, to]) => index >= from && index < to);
  return layer < 0 ? '' : `layer ${layer} `;
}
