import type { Format } from '../../src/formats/format.ts';
import { formatBytes } from '../../src/formats/layout.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { matrixShape } from '../../src/passes/stored-weight.ts';
import type { ModelWork, Traffic } from './contestant.ts';

/**
 * What a token takes from the device at least: the matrices of all products, read for each token that is written and once for all of a prompt. A prompt's last token alone
 * goes through the head, which may be the embedding.
 */
export function modelTraffic(
  graph: Graph,
  formatOf: (name: string) => Format,
  { phase, count }: Pick<ModelWork, 'phase' | 'count'>,
): Traffic {
  const tokens = phase === 'prefill' ? count : 1;
  const shapes = new Map(graph.weights.map(({ name, shape }) => [name, matrixShape(shape)]));
  let [bytes, operations, integers] = [0, 0, false];
  for (const operation of graph.operations) {
    if (operation.op !== 'linear') continue;
    const format = formatOf(operation.weight);
    const { rows, k } = shapes.get(operation.weight)!;
    bytes += formatBytes(format, rows, k);
    operations += 2 * rows * k * (operation.out === graph.logits ? 1 : tokens);
    integers ||= format.activations !== undefined;
  }
  return { bytes: bytes / tokens, operations: operations / tokens, ...(integers && { arithmetic: 'i8' }) };
}
