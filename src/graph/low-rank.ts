import type { Graph, GraphWeight, Operation, ValueName, WeightName } from './graph.ts';

/** The factors of a weight W = left · right (+ base), as weights of a graph. */
export const factorsOf = (
  weight: WeightName,
): { readonly base: WeightName; readonly left: WeightName; readonly right: WeightName } => ({
  base: `${weight}.base`,
  left: `${weight}.left`,
  right: `${weight}.right`,
});

/** Whether two weights are the factors of one. */
export const areFactors = (left: WeightName, right: WeightName): boolean => {
  const names = factorsOf(left.replace(/\.left$/, ''));
  return names.left === left && names.right === right;
};

/** Whether a weight is what a factored one multiplies its input with first. */
export const isRightFactor = (weight: WeightName): boolean => weight.endsWith('.right');

/** How a matrix is a product of two of that rank: alone, or added to a third one of its own size. */
export interface Factored {
  readonly rank: number;
  readonly base: boolean;
}

/**
 * A graph in which some matrices are products of two, or a matrix and such a product: y = W x becomes y = left (right x), or y = base x + left (right x), products by themselves, so that factors are loaded, fused, tuned,
 * calibrated, quantized and verified like any other matrix.
 * @param factored linear matrices, by name; others are left alone
 */
export function withLowRank(graph: Graph, factored: ReadonlyMap<WeightName, Factored>): Graph {
  const linear = new Set(graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name));
  const factoredOf = (name: WeightName) => (linear.has(name) ? factored.get(name) : undefined);
  const operations: Operation[] = [];
  const values: Record<ValueName, number> = { ...graph.values };
  /** Of each operation, where its first one lies now. */
  const places: number[] = [];
  for (const operation of graph.operations) {
    places.push(operations.length);
    const how = operation.op === 'linear' ? factoredOf(operation.weight) : undefined;
    if (operation.op !== 'linear' || !how) {
      operations.push(operation);
      continue;
    }
    const { base, left, right } = factorsOf(operation.weight);
    const { x, out } = operation;
    const inner = `${out}-inner`;
    values[inner] = how.rank;
    if (!how.base) {
      operations.push({ op: 'linear', x, weight: right, out: inner }, { ...operation, x: inner, weight: left });
      continue;
    }
    const [first, second] = [`${out}-base`, `${out}-residual`];
    values[first] = values[out]!;
    values[second] = values[out]!;
    operations.push(
      { ...operation, weight: base, out: first },
      { op: 'linear', x, weight: right, out: inner },
      { op: 'linear', x: inner, weight: left, out: second },
      { op: 'add', a: first, b: second, out },
    );
  }
  places.push(operations.length);
  const weights = graph.weights.flatMap((weight): GraphWeight[] => {
    const how = factoredOf(weight.name);
    if (!how) return [weight];
    const { base, left, right } = factorsOf(weight.name);
    const [rows, columns] = weight.shape as readonly [number, number];
    return [
      ...(how.base ? [{ ...weight, name: base }] : []),
      { ...weight, name: right, shape: [how.rank, columns] },
      { ...weight, name: left, shape: [rows, how.rank] },
    ];
  });
  const layerRanges = graph.layerRanges.map(([from, to]) => [places[from]!, places[to]!] as const);
  return { ...graph, operations, values, weights, layerRanges };
}
