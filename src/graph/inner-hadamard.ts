import type { Graph, Operation, ValueName } from './graph.ts';

/** Whether an operation makes the inner activations of an FFN. */
export const makesInner = ({ op }: Operation): boolean => op === 'silu-mul' || op === 'gelu-mul';

/**
 * A graph whose FFNs put their inner activations through a Hadamard transform before the matrices that read them. Source: Ashkboos et al.,
 * "QuaRot", 2024, section 4.
 * @param block a power of two that divides the widths of all inner activations
 */
export function withInnerHadamard(graph: Graph, block: number): Graph {
  const operations: Operation[] = [];
  const values: Record<ValueName, number> = {};
  /** Of each operation, where it or what follows it lies now. */
  const places: number[] = [];
  const turned = new Map<ValueName, ValueName>();
  for (const operation of graph.operations) {
    places.push(operations.length);
    const x = operation.op === 'linear' ? turned.get(operation.x) : undefined;
    operations.push(x === undefined ? operation : ({ ...operation, x } as Operation));
    values[operation.out] = graph.values[operation.out]!;
    if (!makesInner(operation)) continue;
    const out = `${operation.out}-turned`;
    operations.push({ op: 'hadamard', x: operation.out, block, out });
    values[out] = graph.values[operation.out]!;
    turned.set(operation.out, out);
  }
  places.push(operations.length);
  const layerRanges = graph.layerRanges.map(([from, to]) => [places[from]!, places[to]!] as const);
  return { ...graph, operations, values, layerRanges };
}
