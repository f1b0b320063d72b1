import type { BufferView, Step } from '../gpu/kernel.ts';
import { attentionSteps, fusedAttentionSteps, fusesHeads } from '../kernels/attention.ts';
import type { Heads } from '../kernels/heads.ts';
import { turnAppendStep } from '../kernels/heads.ts';
import { type StackLimits, stackedVector, stackedWeight } from '../kernels/stack-weights.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Fused, OperationOf } from './fuse.ts';
import type { WeightName } from './graph.ts';
import {
  normStep,
  operationSteps,
  optional,
  productSteps,
  type StepContext,
  sharesRoom,
  vectorOf,
  weightOf,
} from './operation-steps.ts';

type Linear = OperationOf<'linear'>;

/** Products of one input as one: their weights stacked, and their biases where they have some. */
interface Stacked {
  readonly weight: Weight;
  readonly bias: BufferView | undefined;
}

/** Undefined where the weights, or the biases, do not follow each other in memory. */
export function stackedProducts(
  weights: ReadonlyMap<WeightName, Weight>,
  products: readonly Linear[],
  limits: StackLimits,
): Stacked | undefined {
  const found = products.map((product) => weights.get(product.weight));
  const biases = products.flatMap(({ bias }) => (bias === undefined ? [] : [weights.get(bias)]));
  const all = [...found, ...biases].every((one) => one !== undefined);
  if (!all || (biases.length > 0 && biases.length < products.length)) return undefined;
  const weight = stackedWeight(found as Weight[], limits);
  const bias = biases.length > 0 ? stackedVector(biases as Weight[], limits) : undefined;
  return weight && (biases.length === 0 || bias) ? { weight, bias } : undefined;
}

/** The steps of a group. `out` is memory for what it makes; of one that is added, that of the value that it is added to. */
export function fusedSteps(context: StepContext, group: Fused, out: BufferView, limits: StackLimits): Step[] {
  switch (group.kind) {
    case 'single':
      return operationSteps(context, group.operation, group.index, out);
    case 'added': {
      const { operation } = group;
      if (operation.op === 'rms-norm') return [normStep(context, operation, out, true)];
      const { x, weight, bias } = operation;
      return productSteps(context, {
        ...{ x, weight: weightOf(context, weight), y: out, label: weight, adds: true },
        bias: bias === undefined ? undefined : vectorOf(context, bias),
      });
    }
    case 'gated': {
      const { gate, up, activation } = group;
      const stacked = stackedProducts(context.buffers.weights, [gate, up], limits)!;
      const label = `${gate.weight} + ${up.weight}`;
      return productSteps(context, { ...stacked, x: gate.x, y: out, label, gate: activation });
    }
    case 'heads':
      return headsSteps(context, group, out, limits);
  }
}

function headsSteps(
  context: StepContext,
  { q, k, v, attention }: Fused & { kind: 'heads' },
  out: BufferView,
  limits: StackLimits,
): Step[] {
  const { buffers, tokens } = context;
  const { state } = buffers;
  const { heads, scale, window, softCap } = attention;
  const cache = buffers.caches[attention.cache]!;
  const { kvHeads, headDim } = cache;
  const width = (heads + 2 * kvHeads) * headDim;
  const made = context.room(tokens * width, 'queries, keys and values');
  const steps: Step[] = [];
  // As many of them in one launch as lie together.
  const products = [q.linear, k.linear, v];
  for (let from = 0, start = 0; from < products.length; ) {
    let to = products.length;
    let stacked = stackedProducts(buffers.weights, products.slice(from, to), limits);
    while (!stacked && to > from + 1) stacked = stackedProducts(buffers.weights, products.slice(from, --to), limits);
    const some = products.slice(from, to);
    const { weight, bias } = stacked ?? { weight: weightOf(context, some[0]!.weight), bias: undefined };
    const label = some.map((product) => product.weight).join(' + ');
    steps.push(...productSteps(context, { x: v.x, weight, bias, y: made, label, into: { start, width } }));
    start += weight.rows;
    from = to;
  }
  const { norm, rotary } = q;
  const turned: Heads = {
    heads: made,
    ...(rotary !== undefined && { frequencies: buffers.frequencies.get(rotary)! }),
    ...(norm && {
      norms: {
        query: vectorOf(context, norm.weight),
        key: vectorOf(context, k.norm!.weight),
        ...{ epsilon: norm.epsilon, ...optional({ offset: norm.offset }) },
      },
    }),
  };
  const shape = { tokens, heads, ...cache };
  const variant = buffers.attentionVariant(shape);
  const rest = {
    ...{ cache, state, out, heads, scale, variant, ...optional({ window, softCap }) },
    ...sharesRoom(context, variant, shape),
  };
  if (fusesHeads(variant, shape)) return [...steps, ...fusedAttentionSteps({ turned, ...rest })];
  const queries = context.room(tokens * heads * headDim, 'queries');
  return [
    ...steps,
    turnAppendStep({ turned, state, cache, q: queries, tokens, heads }),
    ...attentionSteps({ q: queries, tokens, ...rest }),
  ];
}
