import type { BufferView, Step } from '../gpu/kernel.ts';
import { attentionSteps, fusedAttentionSteps, fusesHeads } from '../kernels/attention.ts';
import type { Heads } from '../kernels/heads.ts';
import { rotateAppendStep } from '../kernels/heads.ts';
import type { StackLimits } from '../kernels/stack-weights.ts';
import type { Fused } from './fuse.ts';
import { normStep, operationSteps, optional, type StepContext, sharesRoom, vectorOf } from './operation-steps.ts';
import { gatedTermSteps, termSteps } from './term-steps.ts';

/** The steps of a group. `out` is memory for what it makes; of one that is added, that of the value that it is added to. */
export function fusedSteps(context: StepContext, group: Fused, out: BufferView, limits: StackLimits): Step[] {
  switch (group.kind) {
    case 'single':
      return operationSteps(context, group.operation, group.index, out);
    case 'product':
      return termSteps(context, [group.term], { y: out }, limits);
    case 'added': {
      const { added } = group;
      if ('op' in added) return [normStep(context, added, out, true)];
      return termSteps(context, [added], { y: out, adds: true }, limits);
    }
    case 'gated': {
      const { gate, up, activation } = group;
      return gatedTermSteps(context, [gate, up], { y: out, activation }, limits);
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
  const steps = termSteps(context, [q.term, k.term, v], { y: made, into: { start: 0, width } }, limits);
  const { norm, rotary } = q;
  const rotated: Heads = {
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
  if (fusesHeads(variant, shape)) return [...steps, ...fusedAttentionSteps({ rotated, ...rest })];
  const queries = context.room(tokens * heads * headDim, 'queries');
  return [
    ...steps,
    rotateAppendStep({ rotated, state, cache, q: queries, tokens, heads }),
    ...attentionSteps({ q: queries, tokens, ...rest }),
  ];
}
