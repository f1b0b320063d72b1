import type { Graph, GraphWeight, Operation, ValueName, WeightName } from '../graph/graph.ts';

/** Collects the operations, weights and values of a graph in the order in which a family names them. */
export class GraphBuilder {
  readonly #operations: Operation[] = [];
  readonly #weights = new Map<WeightName, GraphWeight>();
  readonly #values: Record<ValueName, number> = {};
  readonly #layerRanges: [number, number][] = [];
  #openLayer: number | undefined;

  /** Appends an operation whose new value is `width` numbers a token; returns the value's name. */
  add(operation: Operation, width: number): ValueName {
    this.#operations.push(operation);
    this.#values[operation.out] = width;
    return operation.out;
  }

  /** Declares a weight; returns its name. */
  weight(name: WeightName, shape: readonly number[], role: GraphWeight['role']): WeightName {
    // Only what is declared while a layer is open belongs to it.
    const layer = this.#openLayer;
    this.#weights.set(name, layer === undefined ? { name, shape, role } : { name, shape, role, layer });
    return name;
  }

  /** Runs `body`, which appends the operations of the next layer. */
  layer(body: () => void): void {
    const start = this.#operations.length;
    this.#openLayer = this.#layerRanges.length;
    body();
    this.#openLayer = undefined;
    this.#layerRanges.push([start, this.#operations.length]);
  }

  finish(logits: ValueName, vocabulary: number, maxPositions: number): Graph {
    return {
      operations: this.#operations,
      weights: [...this.#weights.values()],
      values: this.#values,
      logits,
      layers: this.#layerRanges.length,
      vocabulary,
      maxPositions,
      layerRanges: this.#layerRanges,
    };
  }
}
