import { encodeBf16, encodeF16 } from '../../files/convert.ts';
import { byteLengthOf, type TensorSpec } from '../../files/safetensors-write.ts';
import type { WeightNode } from '../../files/weight-tree.ts';
import type { WeightName } from '../../graph/graph.ts';
import { factorsOf } from '../../graph/low-rank.ts';
import { type PlannedTensor, sizesOf } from '../plan.ts';
import type { Prepared } from '../prepare.ts';
import { globMatcher } from '../recipe.ts';
import { SHARD_BYTES, shardsOf } from '../shards.ts';
import { denseFormatOf } from '../stored-weight.ts';
import { pays, type RankTarget, rankBySize } from './rank.ts';

/** A matrix that becomes two. */
export interface FactoredMatrix {
  readonly tensor: PlannedTensor;
  /** Undefined until its singular values are known. */
  readonly rank: number | undefined;
  readonly left: PlannedTensor;
  readonly right: PlannedTensor;
  /** Into the type of the matrix. @throws NonFiniteError */
  readonly encode: (values: Float32Array, name: string) => Uint8Array;
}

/** The output of a factorization. */
export interface FactorPlan extends Pick<Prepared, 'checkpoint' | 'graph' | 'plan' | 'shards'> {
  readonly matrices: readonly FactoredMatrix[];
  readonly report: readonly {
    readonly name: string;
    readonly shape: readonly [number, number];
    readonly rank: number | null;
  }[];
  readonly parameters: { readonly before: number; readonly after: number };
}

/**
 * Puts two factors in the place of each matrix that has fewer parameters then, behind all other tensors and in the order of the graph. Where a target takes the singular values and
 * `ranks` does not know them yet, all matrices are to be factored.
 */
export function planFactors(
  { checkpoint, graph, plan, shards }: Prepared,
  options: RankTarget & { readonly match?: string | string[]; readonly shardBytes?: number },
  ranks: ReadonlyMap<WeightName, number> | undefined,
): FactorPlan {
  const matches = options.match === undefined ? () => true : globMatcher(options.match, '"match"');
  const report: FactorPlan['report'][number][] = [];
  const made = new Map<PlannedTensor, FactoredMatrix>();
  for (const tensor of plan.tensors) {
    const { name, weight } = tensor;
    if (tensor.report.role !== 'linear' || weight.kind !== 'dense' || weight.shape.length !== 2) continue;
    if (weight.shape.includes(0) || !denseFormatOf(weight.info.type) || !matches(name)) continue;
    const [rows, columns] = weight.shape as readonly [number, number];
    const rank = rankBySize(options, rows, columns) ?? ranks?.get(name);
    const factored = rank === undefined || pays(rank, rows, columns);
    report.push({ name, shape: [rows, columns], rank: factored && rank !== undefined ? rank : null });
    if (factored) made.set(tensor, factoredMatrix(tensor, rank, weight.info.type));
  }
  const order = new Map(graph?.weights.map(({ name }, i) => [name, i]));
  const place = ({ tensor }: FactoredMatrix) => order.get(tensor.name) ?? order.size;
  const matrices = [...made.values()].sort((a, b) => place(a) - place(b));
  const apart = matrices.flatMap(({ right, left }) => [right, left]);
  const tensors = [...plan.tensors.filter((tensor) => !made.has(tensor)), ...apart];
  const weights = new Map(plan.tree.weights);
  for (const { tensor, rank, left, right } of matrices) {
    const [leftNode, rightNode] = [left, right].map(({ name }): WeightNode => ({ kind: 'dense', data: name }));
    weights.set(tensor.name, { kind: 'low-rank', rank: rank ?? 1, left: leftNode!, right: rightNode! });
  }
  const sum = (some: readonly PlannedTensor[]) =>
    some.reduce((total, { weight, specs }) => {
      const shape = specs.length === 1 ? specs[0]!.shape : weight.shape;
      return total + shape.reduce((product, size) => product * size, 1);
    }, 0);
  const linear = (some: readonly PlannedTensor[]) => some.filter(({ report: { role } }) => role === 'linear');
  return {
    ...{ checkpoint, ...(graph && { graph }), matrices, report },
    plan: {
      summary: { ...plan.summary, ...sizesOf(tensors.map((tensor) => tensor.report)) },
      ...{ tensors, apart, tree: { ...plan.tree, weights } },
    },
    shards:
      shards.length === 1 && options.shardBytes === undefined && shards[0]!.tensors === plan.tensors
        ? [{ file: shards[0]!.file, tensors }]
        : shardsOf(tensors, options.shardBytes ?? SHARD_BYTES),
    parameters: { before: sum(linear(plan.tensors)), after: sum(linear(tensors)) },
  };
}

function factoredMatrix(tensor: PlannedTensor, rank: number | undefined, type: TensorSpec['type']): FactoredMatrix {
  const [rows, columns] = tensor.weight.shape as readonly [number, number];
  const names = factorsOf(tensor.name);
  const bytes = tensor.report.bytesBefore;
  const factor = (name: string, shape: readonly [number, number], bytesBefore: number): PlannedTensor => {
    const spec = { name, type, shape };
    const bytesAfter = byteLengthOf(spec);
    const report = { ...tensor.report, name, shape, bytesBefore, bytesAfter };
    return { ...tensor, name, specs: [spec], report };
  };
  return {
    ...{ tensor, rank },
    // What the matrix takes counts once.
    left: factor(names.left, [rows, rank ?? 1], 0),
    right: factor(names.right, [rank ?? 1, columns], bytes),
    encode: encoderOf(type),
  };
}

function encoderOf(type: TensorSpec['type']): FactoredMatrix['encode'] {
  if (type === 'F16') return encodeF16;
  if (type === 'BF16') return encodeBf16;
  return (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
