import { ModelError } from '../../errors.ts';
import type { Graph, Operation, ValueName, WeightName } from '../../graph/graph.ts';
import { makesInner } from '../../graph/inner-hadamard.ts';
import { inputsOf } from '../../graph/inputs.ts';

/** How a rotation of the residual stream changes a weight. What does not apply is left out. */
export interface Turn {
  /** Its rows are, or multiply, vectors of the stream. */
  readonly reads?: true;
  /** The norm between the stream and the matrix, whose scale it takes over; `offset` is added to the stored scale. */
  readonly norm?: { readonly weight: WeightName; readonly offset: number };
  /** What it gives is added to the stream. Of a vector: it is such a bias. */
  readonly writes?: true;
  /** Its rows multiply the inner activations of an FFN. */
  readonly inner?: true;
  /** A norm of the stream: its scale becomes neutral. */
  readonly neutral?: { readonly offset: number };
}

/** Where the residual stream of a graph begins, and all that reads it or is added to it. */
export interface ResidualStream {
  /** Columns. */
  readonly width: number;
  /** Of the inner activations of FFNs; undefined where there are none, or of several widths. */
  readonly innerWidth: number | undefined;
  /** The weights that change with the basis. */
  readonly turns: ReadonlyMap<WeightName, Turn>;
  /** The embedding that is the head, too, and how the head changes: from then on they are two. */
  readonly tiedHead?: { readonly weight: WeightName; readonly turn: Turn };
}

/** What a value is: of the stream, the stream through a norm, or something else. */
type Kind =
  | { readonly kind: 'stream' }
  | { readonly kind: 'normed'; readonly norm: WeightName; readonly offset: number }
  | { readonly kind: 'inner' }
  | { readonly kind: 'other'; readonly by: Operation };

/**
 * Finds the residual stream of a graph: what embeddings give, and all sums with it. It may be rotated where nothing acts on its columns one by one but the
 * scales of norms that matrices follow, which can take them over. Source: Ashkboos et al., "SliceGPT", 2024, section 3.1.
 * @throws ModelError that names what stands in the way
 */
export function residualStream(graph: Graph, name: string): ResidualStream {
  const found = new Finder(graph, name);
  for (const operation of graph.operations) found.visit(operation);
  return found.finish();
}

class Finder {
  readonly #graph: Graph;
  readonly #name: string;
  readonly #kinds = new Map<ValueName, Kind>();
  readonly #turns = new Map<WeightName, Turn>();
  /** All uses of weights, to find those that are used otherwise, too. */
  readonly #uses = new Map<WeightName, string>();
  readonly #readers = new Map<ValueName, Operation[]>();
  #width: number | undefined;
  #tiedHead: { weight: WeightName; turn: Turn } | undefined;

  constructor(graph: Graph, name: string) {
    this.#graph = graph;
    this.#name = name;
    for (const operation of graph.operations) {
      for (const value of inputsOf(operation)) {
        this.#readers.set(value, [...(this.#readers.get(value) ?? []), operation]);
      }
    }
  }

  visit(operation: Operation): void {
    this.#kinds.set(operation.out, this.#kindOf(operation));
    if (operation.out === this.#graph.logits && this.#kinds.get(operation.out)!.kind !== 'other') {
      this.#refuse('its logits are the residual stream itself');
    }
  }

  finish(): ResidualStream {
    if (this.#width === undefined) return this.#refuse('it has no embedding that a residual stream starts from');
    const inner = new Set(this.#graph.operations.filter(makesInner).map(({ out }) => this.#graph.values[out]!));
    return {
      width: this.#width,
      innerWidth: inner.size === 1 ? [...inner][0] : undefined,
      turns: this.#turns,
      ...(this.#tiedHead && { tiedHead: this.#tiedHead }),
    };
  }

  #kindOf(operation: Operation): Kind {
    const kind = (value: ValueName): Kind | undefined => this.#kinds.get(value);
    switch (operation.op) {
      case 'embedding': {
        const width = this.#graph.values[operation.out]!;
        if (this.#width !== undefined && this.#width !== width) this.#refuse('its embeddings differ in width');
        this.#width = width;
        this.#turn(operation.weight, { reads: true });
        return { kind: 'stream' };
      }
      case 'rms-norm': {
        const x = kind(operation.x);
        if (x?.kind === 'stream') {
          if (this.#graph.weights.find(({ name }) => name === operation.weight)!.shape[0] !== this.#width) {
            this.#refuse(`"${operation.weight}" normalizes pieces of the residual stream by themselves`);
          }
          const offset = operation.offset ?? 0;
          this.#turn(operation.weight, { neutral: { offset } });
          return { kind: 'normed', norm: operation.weight, offset };
        }
        this.#onlyOther(operation);
        this.#turn(operation.weight, {});
        return { kind: 'other', by: operation };
      }
      case 'linear': {
        const x = kind(operation.x);
        const turn: Turn = {
          ...((x?.kind === 'stream' || x?.kind === 'normed') && { reads: true }),
          ...(x?.kind === 'normed' && { norm: { weight: x.norm, offset: x.offset } }),
          ...(x?.kind === 'inner' && { inner: true }),
          ...(this.#isAdded(operation.out) && { writes: true }),
        };
        if (operation.out === this.#graph.logits && this.#isEmbedding(operation.weight)) {
          this.#tiedHead = { weight: operation.weight, turn };
        } else this.#turn(operation.weight, turn);
        if (operation.bias !== undefined) this.#turn(operation.bias, turn.writes ? { writes: true } : {});
        return { kind: 'other', by: operation };
      }
      case 'add': {
        const terms = [operation.a, operation.b].map((value) => [value, kind(value)] as const);
        if (!terms.some(([, term]) => term?.kind === 'stream')) {
          this.#onlyOther(operation);
          return { kind: 'other', by: operation };
        }
        for (const [value, term] of terms) {
          if (term?.kind === 'stream') continue;
          if (term?.kind === 'other' && term.by.op === 'linear' && term.by.softCap === undefined) {
            const elsewhere = this.#readers.get(value)!.find((reader) => reader.op !== 'add');
            if (!this.#turns.get(term.by.weight)?.writes) {
              this.#refuse(`${value} is added to the residual stream before that begins`);
            }
            if (elsewhere) this.#refuse(`${value} is added to the residual stream and read by ${elsewhere.out}, too`);
            continue;
          }
          const by = term?.kind === 'other' ? term.by : undefined;
          if (by?.op === 'rms-norm') {
            this.#refuse(
              `the scale of "${by.weight}" acts on what is added to the residual stream, where no matrix can take it over (as in Gemma 2 and 3)`,
            );
          }
          this.#refuse(`${value} is added to the residual stream and comes from no matrix`);
        }
        return { kind: 'stream' };
      }
      default:
        this.#onlyOther(operation);
        return makesInner(operation) ? { kind: 'inner' } : { kind: 'other', by: operation };
    }
  }

  /** Whether a value is added to something that is of the stream already. */
  #isAdded(value: ValueName): boolean {
    return (this.#readers.get(value) ?? []).some(
      (reader) =>
        reader.op === 'add' &&
        [reader.a, reader.b].some((other) => other !== value && this.#kinds.get(other)?.kind === 'stream'),
    );
  }

  #isEmbedding = (weight: WeightName): boolean =>
    this.#graph.operations.some((operation) => operation.op === 'embedding' && operation.weight === weight);

  /** Refuses an operation that acts on columns of the stream. */
  #onlyOther(operation: Operation): void {
    for (const value of inputsOf(operation)) {
      const { kind } = this.#kinds.get(value) ?? { kind: 'other' };
      if (kind === 'stream' || kind === 'normed') {
        this.#refuse(`${operation.out} (${operation.op}) reads the residual stream and is no matrix`);
      }
    }
  }

  #turn(weight: WeightName, turn: Turn): void {
    const use = JSON.stringify(turn);
    const before = this.#uses.get(weight);
    if (before !== undefined && before !== use) {
      this.#refuse(`"${weight}" is used in two places that a rotation changes in different ways`);
    }
    this.#uses.set(weight, use);
    if (Object.keys(turn).length > 0) this.#turns.set(weight, turn);
  }

  #refuse(why: string): never {
    throw new ModelError(`${this.#name}: this model can't be rotated: ${why}. Leave the rotation out.`);
  }
}
