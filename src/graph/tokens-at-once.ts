import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from './graph.ts';

/** Of a GPU, what decides how much of a value is bound. */
type Limits = Pick<Gpu, 'bindingLimit'> & {
  readonly limits: Pick<GPUSupportedLimits, 'minStorageBufferOffsetAlignment'>;
};

/** Products of so many do not become faster with more; memory and the time until a prompt can be cancelled do. */
const MOST_TOKENS = 512;

/**
 * The most tokens, up to 512, whose every value fits a binding, and at least one; of logits those of the last token, where the offset of what they are made from
 * allows it.
 */
export function tokensAtOnce(graph: Graph, { bindingLimit, limits }: Limits): number {
  const head = graph.operations.find(({ out }) => out === graph.logits);
  const lastOnly = head?.op === 'linear' && (4 * graph.values[head.x]!) % limits.minStorageBufferOffsetAlignment === 0;
  const widths = Object.entries(graph.values).map(([name, width]) => (lastOnly && name === graph.logits ? 0 : width));
  for (const operation of graph.operations) {
    if (operation.op !== 'attention') continue;
    // Queries, keys and values lie behind each other.
    widths.push((operation.heads + 2 * operation.kvHeads) * operation.headDim);
  }
  return Math.min(MOST_TOKENS, Math.max(1, Math.floor(bindingLimit / (4 * Math.max(...widths)))));
}
