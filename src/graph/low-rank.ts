import type { Graph, GraphWeight, Operation, ValueName, WeightName } from './graph.ts';

/** The factors of a weight W = left · right, as weights of a graph. */
export const factorsOf = (weight: WeightName): { readonly left: WeightName; readonly right: WeightName } => ({
  left: `${weight}.left`,
  right: `${weight}.right`,
});

/**
 * A graph in which some matrices are products of two: y = W x becomes y = left (right x), two products by themselves, so that factors are loaded, fused, tuned,
 * calibrated, quantized and verified like any other matrix.
 * @param ranks of linear matrices, by name; others are left alone
 */
export function withLowRank(graph: Graph, ranks: ReadonlyMap<WeightName, number>): Graph {
  const linear = new Set(graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name));
  const rankOf = (name: WeightName) => (linear.has(name) ? ranks.get(name) : undefined);
  const operations: Operation[] = [];
  const values: Record<ValueName, number> = { ...graph.values };
  /** Of each operation, where its first one lies now. */
  const places: number[] = [];
  for (const operation of graph.operations) {
    places.push(operations.length);
    const rank = operation.op === 'linear' ? rankOf(operation.weight) : undefined;
    if (operation.op !== 'linear' || rank === undefined) {
      operations.push(operation);
      continue;
    }
    const { left, right } = factorsOf(operation.weight);
    const inner = `${operation.out}-inner`;
    values[inner] = rank;
    operations.push(
      { op: 'linear', x: operation.x, weight: right, out: inner },
      { ...operation, x: inner, weight: left },
    );
  }
  places.push(operations.length);
  const weights = graph.weights.flatMap((weight): GraphWeight[] => {
    const rank = rankOf(weight.name);
    if (rank === undefined) return [weight];
    const { left, right } = factorsOf(weight.name);
    const [rows, columns] = weight.shape as readonly [number, number];
    return [
      { ...weight, name: right, shape: [rank, columns] },
      { ...weight, name: left, shape: [rows, rank] },
    ];
  });
  const layerRanges = graph.layerRanges.map(([from, to]) => [places[from]!, places[to]!] as const);
  return { ...graph, operations, values, weights, layerRanges };
}
