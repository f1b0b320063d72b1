import { ModelError } from '../errors.ts';
import { isSparse } from '../formats/format.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import { addStep } from '../kernels/add.ts';
import { appendStep, attentionRoomBytes, attentionSteps } from '../kernels/attention.ts';
import { embeddingSteps } from '../kernels/embedding.ts';
import { gatedStep } from '../kernels/gated.ts';
import { hadamardStep } from '../kernels/hadamard.ts';
import { integerLinearSteps } from '../kernels/integer-linear.ts';
import { type Columns, linearSteps } from '../kernels/linear.ts';
import { packedProducts } from '../kernels/packed-products.ts';
import { rmsNormStep } from '../kernels/rms-norm.ts';
import { rotaryStep } from '../kernels/rotary.ts';
import { softCapStep } from '../kernels/soft-cap.ts';
import type { Weight } from '../kernels/weight.ts';
import type { DecoderBuffers } from './batch.ts';
import type { OperationOf } from './fuse.ts';
import type { Operation, ValueName, WeightName } from './graph.ts';
import type { IntegerInputs } from './integer-inputs.ts';

/** Threads for a row where a barrier costs more than the additions that it saves. */
export const FEW_THREADS = 8;

/** What the steps of a batch are made from. */
export interface StepContext {
  readonly buffers: DecoderBuffers;
  readonly integers: IntegerInputs;
  readonly tokens: number;
  value(name: ValueName): BufferView;
  /** Memory that only the steps of one group use, f32 of that many words. */
  room(words: number, label: string): BufferView;
}

/** @throws ModelError where it was not loaded */
export function weightOf({ buffers }: StepContext, name: WeightName): Weight {
  const found = buffers.weights.get(name);
  if (!found) throw new ModelError(`The graph needs the weight "${name}", which was not loaded.`);
  return found;
}

/** A norm or a bias: f32. */
export const vectorOf = (context: StepContext, name: WeightName): BufferView =>
  weightOf(context, name).parts[0]!.arrays[0]!;

/** A product with a weight, in its own arithmetic. */
export interface Product {
  /** The value that it multiplies. */
  readonly x: ValueName;
  readonly weight: Weight;
  readonly bias?: BufferView | undefined;
  readonly y: BufferView;
  readonly label: string;
  readonly into?: Columns;
  readonly adds?: boolean;
  readonly gate?: 'silu' | 'gelu';
}

export function productSteps({ buffers, integers, tokens, value }: StepContext, product: Product): Step[] {
  const { x, weight, bias, gate, ...others } = product;
  const rest = { ...others, weight, tokens, ...(bias && { bias }) };
  const shape = { rows: weight.rows, k: weight.k, tokens };
  if (isSparse(weight.format)) {
    const variant = buffers.linearVariant(shape, weight.format);
    return packedProducts().productSteps({ ...rest, x: value(x), variant });
  }
  if (!weight.format.activations) {
    return linearSteps({
      ...rest,
      x: value(x),
      variant: buffers.linearVariant(shape, weight.format),
      ...(gate && { gate }),
    });
  }
  const codes = integers.of(x, value(x), weight, tokens);
  const variant = buffers.integerVariant(shape, weight.format);
  return [...codes.steps, ...integerLinearSteps({ ...rest, x: codes.x, packed: buffers.packed, variant })];
}

export function normStep(
  context: StepContext,
  operation: OperationOf<'rms-norm'>,
  out: BufferView,
  adds: boolean,
): Step {
  const { k: width } = weightOf(context, operation.weight);
  const { epsilon, offset } = operation;
  return rmsNormStep({
    ...{ x: context.value(operation.x), weight: vectorOf(context, operation.weight), out, epsilon, width, adds },
    // Heads that are normalized by themselves are rows too.
    tokens: out.size! / 4 / width,
    ...optional({ offset }),
    ...(context.buffers.software && { threads: FEW_THREADS }),
  });
}

/** Room for the shares of an attention whose positions are split. */
export function sharesRoom(
  context: StepContext,
  variant: string,
  shape: Parameters<typeof attentionRoomBytes>[1],
): { room?: BufferView } {
  const bytes = attentionRoomBytes(variant, shape);
  return bytes === 0 ? {} : { room: context.room(bytes / 4, 'attention shares') };
}

/** The steps of one operation by itself. */
export function operationSteps(context: StepContext, operation: Operation, index: number, out: BufferView): Step[] {
  const { buffers, tokens, value } = context;
  const { state, ids } = buffers;
  const count = out.size! / 4;
  switch (operation.op) {
    case 'embedding': {
      const weight = weightOf(context, operation.weight);
      return embeddingSteps({ ids, weight, out, tokens, ...optional({ scale: operation.scale }) });
    }
    case 'rms-norm':
      return [normStep(context, operation, out, false)];
    case 'linear': {
      const { x, weight, bias, softCap } = operation;
      const product = productSteps(context, {
        ...{ x, weight: weightOf(context, weight), y: out, label: weight },
        bias: bias === undefined ? undefined : vectorOf(context, bias),
      });
      return [...product, ...(softCap === undefined ? [] : [softCapStep({ y: out, count, cap: softCap })])];
    }
    case 'rotary': {
      const { headDim } = operation.rotary;
      const heads = count / tokens / headDim;
      const frequencies = buffers.frequencies.get(index)!;
      return [rotaryStep({ x: value(operation.x), frequencies, state, out, tokens, heads, headDim })];
    }
    case 'attention': {
      const { heads, scale, window, softCap } = operation;
      const cache = buffers.caches[operation.cache]!;
      const shape = { tokens, heads, ...cache };
      const variant = buffers.attentionVariant(shape);
      const q = value(operation.q);
      return [
        appendStep({ k: value(operation.k), v: value(operation.v), state, cache, tokens }),
        ...attentionSteps({
          ...{ q, cache, state, out, tokens, heads, scale, variant },
          ...optional({ window, softCap }),
          ...sharesRoom(context, variant, shape),
        }),
      ];
    }
    case 'gelu-mul':
    case 'silu-mul': {
      const activation = operation.op === 'silu-mul' ? 'silu' : 'gelu';
      return [gatedStep({ activation, gate: value(operation.gate), up: value(operation.up), out, count })];
    }
    case 'hadamard': {
      const threads = buffers.software && { threads: FEW_THREADS };
      return [hadamardStep({ x: value(operation.x), out, count, block: operation.block, ...threads })];
    }
    case 'add':
      return [addStep({ a: value(operation.a), b: value(operation.b), out, count })];
  }
}

/** The fields that are set: an argument that is undefined is not the same as one left out. */
export function optional<T extends Record<string, number | undefined>>(fields: T): { [K in keyof T]?: number } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: number;
  };
}
