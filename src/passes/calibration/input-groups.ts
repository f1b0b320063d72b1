import type { Graph, ValueName, WeightName } from '../../graph/graph.ts';

/** Matrices that multiply the same input: they share its statistics. */
export interface InputGroup {
  readonly input: ValueName;
  /** Width of the input: columns of each matrix. */
  readonly k: number;
  /** Index of the first operation that multiplies it. */
  readonly at: number;
  readonly layer: number | undefined;
  /** In the order of the graph. */
  readonly weights: readonly WeightName[];
}

/** The inputs of all matrices of a graph, the output head included, in the order in which they are computed. */
export function inputGroups(graph: Graph): InputGroup[] {
  const layers = new Map(graph.weights.map(({ name, layer }) => [name, layer]));
  const groups = new Map<ValueName, InputGroup & { weights: WeightName[] }>();
  for (const [at, operation] of graph.operations.entries()) {
    if (operation.op !== 'linear') continue;
    const { x: input, weight } = operation;
    const group = groups.get(input);
    if (group) group.weights.push(weight);
    else groups.set(input, { input, k: graph.values[input]!, at, layer: layers.get(weight), weights: [weight] });
  }
  return [...groups.values()];
}
