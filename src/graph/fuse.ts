import type { Graph, Operation, ValueName } from './graph.ts';
import { inputsOf } from './inputs.ts';
import { areFactors } from './low-rank.ts';

export type OperationOf<Op extends Operation['op']> = Operation & { readonly op: Op };
type Linear = OperationOf<'linear'>;

/** What a matrix makes of x: base x, left (right x), or both added up. */
export interface Term {
  readonly x: ValueName;
  readonly base?: Linear;
  readonly factors?: { readonly right: Linear; readonly left: Linear };
}

/** What stands behind an attention's queries or keys. */
interface Chain {
  readonly term: Term;
  readonly norm?: OperationOf<'rms-norm'>;
  /** Index of the operation that rotates them. */
  readonly rotary?: number;
}

/** What is launched together: one operation, or several of which nobody else reads the values between. */
export type Fused = {
  /** Index of the last operation, which makes `out`. */
  readonly index: number;
  readonly out: ValueName;
  /** Values that it reads. */
  readonly reads: readonly ValueName[];
} & (
  | { readonly kind: 'single'; readonly operation: Operation }
  /** A product whose matrix is factored. */
  | { readonly kind: 'product'; readonly term: Term }
  /** A product or a norm that is added to the value `onto`, whose memory becomes that of `out`. */
  | { readonly kind: 'added'; readonly added: Term | OperationOf<'rms-norm'>; readonly onto: ValueName }
  | { readonly kind: 'gated'; readonly gate: Term; readonly up: Term; readonly activation: 'silu' | 'gelu' }
  | {
      readonly kind: 'heads';
      readonly q: Chain;
      readonly k: Chain;
      readonly v: Term;
      readonly attention: OperationOf<'attention'>;
    }
);

export interface FuseOptions {
  /** Values that have to be made, and memory that has to keep its values. */
  readonly keep: ReadonlySet<ValueName>;
  /** Whether two products can be one launch in which one gates the other. */
  readonly gates: (gate: Linear, up: Linear) => boolean;
}

/** Every operation by itself. */
export const unfused = (graph: Graph): Fused[] =>
  graph.operations.map((operation, index) => ({
    ...{ kind: 'single', index, operation },
    ...{ out: operation.out, reads: inputsOf(operation) },
  }));

/**
 * Finds what can be launched together: queries, keys and values with their norms, rotary embedding and the attention; a gate with what it lets through; a product or a norm
 * with the addition behind it; the products of a factored matrix. An operation that is launched with others moves behind them, to where the last of them stands.
 */
export function fuseGraph(graph: Graph, { keep, gates }: FuseOptions): Fused[] {
  const { operations } = graph;
  const makers = new Map(operations.map(({ out }, index) => [out, index] as const));
  const readers = new Map<ValueName, number[]>();
  for (const [index, operation] of operations.entries()) {
    for (const name of inputsOf(operation)) readers.set(name, [...(readers.get(name) ?? []), index]);
  }
  const taken = new Set<number>();
  /** What makes a value that nobody but one operation reads. */
  const maker = <Op extends Operation['op']>(name: ValueName, op: Op) => {
    const index = makers.get(name);
    if (index === undefined || taken.has(index)) return undefined;
    const operation = operations[index]!;
    const mine = operation.op === op && readers.get(name)!.length === 1 && name !== graph.logits && !keep.has(name);
    return mine ? { index, operation: operation as OperationOf<Op> } : undefined;
  };
  interface FoundTerm {
    readonly term: Term;
    readonly indices: readonly number[];
  }
  const product = (name: ValueName) => {
    const found = maker(name, 'linear');
    return found && found.operation.softCap === undefined ? found : undefined;
  };
  const linearTerm = (left: Linear, index: number): FoundTerm | undefined => {
    if (left.softCap !== undefined) return undefined;
    const right = product(left.x);
    if (!right || !areFactors(left.weight, right.operation.weight)) {
      return { term: { x: left.x, base: left }, indices: [index] };
    }
    const { x } = right.operation;
    return { term: { x, factors: { right: right.operation, left } }, indices: [index, right.index] };
  };
  const sumTerm = ({ a, b }: OperationOf<'add'>, index: number): FoundTerm | undefined => {
    const [base, residual] = [product(a), product(b)];
    const factors = residual && linearTerm(residual.operation, residual.index);
    if (!base || !factors?.term.factors || factors.term.x !== base.operation.x) return undefined;
    return { term: { ...factors.term, base: base.operation }, indices: [index, base.index, ...factors.indices] };
  };
  /** The matrix, factored or not, that makes a value which nobody but one operation reads. */
  const termOf = (name: ValueName): FoundTerm | undefined => {
    const linear = maker(name, 'linear');
    if (linear) return linearTerm(linear.operation, linear.index);
    const sum = maker(name, 'add');
    return sum && sumTerm(sum.operation, sum.index);
  };
  const take = (...indices: readonly (number | undefined)[]) => {
    for (const index of indices) if (index !== undefined) taken.add(index);
  };

  const chainOf = (name: ValueName) => {
    const rotary = maker(name, 'rotary');
    const norm = maker(rotary?.operation.x ?? name, 'rms-norm');
    const found = termOf(norm?.operation.x ?? rotary?.operation.x ?? name);
    return found && { ...found, norm, rotary };
  };
  type Found = NonNullable<ReturnType<typeof chainOf>>;
  const alike = (q: Found, k: Found, headDim: number): boolean => {
    const [a, b] = [q.rotary?.operation.rotary, k.rotary?.operation.rotary];
    const [c, d] = [q.norm?.operation, k.norm?.operation];
    return (
      (a && `${a.headDim}:${a.inverseFrequencies}`) === (b && `${b.headDim}:${b.inverseFrequencies}`) &&
      (a === undefined || a.headDim === headDim) &&
      (c && `${c.epsilon}:${c.offset}`) === (d && `${d.epsilon}:${d.offset}`)
    );
  };
  const asChain = ({ term, norm, rotary }: Found): Chain => ({
    term,
    ...(norm && { norm: norm.operation }),
    ...(rotary && { rotary: rotary.index }),
  });

  const productGroup = ({ term, indices }: FoundTerm, out: ValueName, index: number): Fused => {
    take(...indices.filter((one) => one !== index));
    return { kind: 'product', index, out, reads: [term.x], term };
  };
  /** Factored matrices have room of their own for what gates. */
  const gatesTerms = (gate: Term, up: Term): boolean =>
    gate.factors || up.factors ? true : gates(gate.base!, up.base!);

  const groups = new Map<number, Fused>();
  const group = (index: number, operation: Operation): Fused | undefined => {
    const { out } = operation;
    switch (operation.op) {
      case 'attention': {
        const [q, k, v] = [chainOf(operation.q), chainOf(operation.k), termOf(operation.v)];
        if (!(q && k && v && alike(q, k, operation.headDim))) return undefined;
        const { x } = v.term;
        if (q.term.x !== x || k.term.x !== x) return undefined;
        for (const { indices, norm, rotary } of [q, k]) take(...indices, norm?.index, rotary?.index);
        take(...v.indices);
        return {
          ...{ kind: 'heads', index, out, reads: [x], attention: operation },
          ...{ q: asChain(q), k: asChain(k), v: v.term },
        };
      }
      case 'silu-mul':
      case 'gelu-mul': {
        const [gate, up] = [termOf(operation.gate), termOf(operation.up)];
        if (!(gate && up && gate.term.x === up.term.x && gatesTerms(gate.term, up.term))) return undefined;
        take(...gate.indices, ...up.indices);
        return {
          ...{ kind: 'gated', index, out, reads: [gate.term.x], gate: gate.term, up: up.term },
          activation: operation.op === 'silu-mul' ? 'silu' : 'gelu',
        };
      }
      case 'linear': {
        const found = linearTerm(operation, index);
        if (!found?.term.factors) return undefined;
        return productGroup(found, out, index);
      }
      case 'add': {
        const sum = sumTerm(operation, index);
        if (sum) return productGroup(sum, out, index);
        for (const [onto, name] of [
          [operation.a, operation.b],
          [operation.b, operation.a],
        ] as const) {
          const term = termOf(name);
          const norm = term ? undefined : maker(name, 'rms-norm');
          const x = term?.term.x ?? norm?.operation.x;
          // The memory of `onto` is given up: this has to be its last reader.
          const ends =
            makers.has(onto) && !keep.has(onto) && onto !== graph.logits && readers.get(onto)!.at(-1) === index;
          if (x === undefined || !ends || x === onto) continue;
          take(...(term?.indices ?? [norm!.index]));
          return {
            ...{ kind: 'added', index, out, reads: [x, onto] },
            ...{ added: term?.term ?? norm!.operation, onto },
          };
        }
        return undefined;
      }
      default:
        return undefined;
    }
  };
  // From behind: an addition takes the one before it along where that adds up a factored matrix.
  for (const [index, operation] of [...operations.entries()].reverse()) {
    const found = taken.has(index) ? undefined : group(index, operation);
    if (found) groups.set(index, found);
  }
  const list = unfused(graph).flatMap((one) => (taken.has(one.index) ? [] : [groups.get(one.index) ?? one]));
  // An operation that moved may read behind an addition what that changes: no graph of a family does.
  const last = lastReadsOf(list);
  const spoilt = list.some((one) => one.kind === 'added' && last.get(one.onto) !== one.index);
  return spoilt ? unfused(graph) : list;
}

/** For each value that is read at all: the index of the last group that reads it. */
export function lastReadsOf(list: readonly Fused[]): Map<ValueName, number> {
  const last = new Map<ValueName, number>();
  for (const { index, reads } of list) for (const name of reads) last.set(name, index);
  return last;
}
