import type { Graph, Operation, ValueName } from './graph.ts';
import { inputsOf } from './inputs.ts';

export type OperationOf<Op extends Operation['op']> = Operation & { readonly op: Op };

/** What stands behind an attention's queries or keys. */
interface Chain {
  readonly linear: OperationOf<'linear'>;
  readonly norm?: OperationOf<'rms-norm'>;
  /** Index of the operation that turns them. */
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
  /** A product or a norm that is added to the value `onto`, whose memory becomes that of `out`. */
  | {
      readonly kind: 'added';
      readonly operation: OperationOf<'linear'> | OperationOf<'rms-norm'>;
      readonly onto: ValueName;
    }
  | {
      readonly kind: 'gated';
      readonly gate: OperationOf<'linear'>;
      readonly up: OperationOf<'linear'>;
      readonly activation: 'silu' | 'gelu';
    }
  | {
      readonly kind: 'heads';
      readonly q: Chain;
      readonly k: Chain;
      readonly v: OperationOf<'linear'>;
      readonly attention: OperationOf<'attention'>;
    }
);

export interface FuseOptions {
  /** Values that have to be made, and memory that has to keep its values. */
  readonly keep: ReadonlySet<ValueName>;
  /** Whether two products can be one launch in which one gates the other. */
  readonly gates: (gate: OperationOf<'linear'>, up: OperationOf<'linear'>) => boolean;
}

/** Every operation by itself. */
export const unfused = (graph: Graph): Fused[] =>
  graph.operations.map((operation, index) => ({
    ...{ kind: 'single', index, operation },
    ...{ out: operation.out, reads: inputsOf(operation) },
  }));

/**
 * Finds what can be launched together: queries, keys and values with their norms, turns and the attention; a gate with what it lets through; a product or a norm
 * with the addition behind it. An operation that is launched with others moves behind them, to where the last of them stands.
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
  const product = (name: ValueName) => {
    const found = maker(name, 'linear');
    return found && found.operation.softCap === undefined ? found : undefined;
  };
  const take = (...indices: readonly (number | undefined)[]) => {
    for (const index of indices) if (index !== undefined) taken.add(index);
  };

  const chainOf = (name: ValueName) => {
    const rotary = maker(name, 'rotary');
    const norm = maker(rotary?.operation.x ?? name, 'rms-norm');
    const linear = product(norm?.operation.x ?? rotary?.operation.x ?? name);
    return linear && { linear, norm, rotary };
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
  const asChain = ({ linear, norm, rotary }: Found): Chain => ({
    linear: linear.operation,
    ...(norm && { norm: norm.operation }),
    ...(rotary && { rotary: rotary.index }),
  });

  const groups = new Map<number, Fused>();
  const group = (index: number, operation: Operation): Fused | undefined => {
    const { out } = operation;
    switch (operation.op) {
      case 'attention': {
        const [q, k, v] = [chainOf(operation.q), chainOf(operation.k), product(operation.v)];
        if (!(q && k && v && alike(q, k, operation.headDim))) return undefined;
        const { x } = v.operation;
        if (q.linear.operation.x !== x || k.linear.operation.x !== x) return undefined;
        for (const { linear, norm, rotary } of [q, k]) take(linear.index, norm?.index, rotary?.index);
        take(v.index);
        return {
          ...{ kind: 'heads', index, out, reads: [x], attention: operation },
          ...{ q: asChain(q), k: asChain(k), v: v.operation },
        };
      }
      case 'silu-mul':
      case 'gelu-mul': {
        const [gate, up] = [product(operation.gate), product(operation.up)];
        if (!(gate && up && gate.operation.x === up.operation.x && gates(gate.operation, up.operation)))
          return undefined;
        take(gate.index, up.index);
        return {
          ...{ kind: 'gated', index, out, reads: [gate.operation.x], gate: gate.operation, up: up.operation },
          activation: operation.op === 'silu-mul' ? 'silu' : 'gelu',
        };
      }
      case 'add':
        for (const [onto, name] of [
          [operation.a, operation.b],
          [operation.b, operation.a],
        ] as const) {
          const found = product(name) ?? maker(name, 'rms-norm');
          // The memory of `onto` is given up: this has to be its last reader.
          const ends =
            makers.has(onto) && !keep.has(onto) && onto !== graph.logits && readers.get(onto)!.at(-1) === index;
          if (!found || !ends || found.operation.x === onto) continue;
          take(found.index);
          return {
            ...{ kind: 'added', index, out, reads: [found.operation.x, onto] },
            ...{ operation: found.operation, onto },
          };
        }
        return undefined;
      default:
        return undefined;
    }
  };
  for (const [index, operation] of operations.entries()) {
    const found = group(index, operation);
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
