import type { Graph, WeightName } from '../../graph/graph.ts';

/** The biases that make up for what pruning takes from the matrix before them, by the matrix: those of matrices that are pruned when their inputs are known. */
export function compensatingBiases(
  { operations }: Graph,
  pruned: (weight: WeightName) => boolean,
): Map<WeightName, WeightName> {
  const found = new Map<WeightName, WeightName>();
  for (const operation of operations) {
    if (operation.op === 'linear' && operation.bias !== undefined && pruned(operation.weight)) {
      found.set(operation.weight, operation.bias);
    }
  }
  return found;
}
