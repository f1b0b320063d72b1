import { FormatError } from '../../errors.ts';
import { byteLengthOf, type TensorSpec } from '../../files/safetensors-write.ts';
import { quote } from '../../files/text.ts';
import type { WeightNode } from '../../files/weight-tree.ts';
import { checkRow } from '../../formats/checks.ts';
import type { Format } from '../../formats/format.ts';
import { arrayShape, groupOf } from '../../formats/layout.ts';
import { factorsOf } from '../../graph/low-rank.ts';
import type { PlannedTensor } from '../plan.ts';
import { denseFormatOf } from '../stored-weight.ts';
import type { Factoring } from './factoring.ts';
import { pays, rankBySize } from './rank.ts';

/** A matrix that becomes left · right, or base + left · right. */
export interface PlannedFactors {
  /** Undefined until its singular values are known. */
  readonly rank: number | undefined;
  readonly factoring: Factoring;
  /** That the matrix has if it stays whole. */
  readonly whole: Format;
  /** Of the matrix that the product is added to. */
  readonly base: Format | undefined;
  /** Of both factors. */
  readonly format: Format;
}

/** What becomes of a matrix that a recipe factors: factors, or a reason why not. */
type FactorDecision = { readonly factors: PlannedFactors } | { readonly refused: string };

/**
 * Decides whether a matrix is factored. One whose factors would take as much room as the matrix stays whole.
 * @param ranks of matrices whose singular values were looked at
 * @throws FormatError where a format does not fit the sides of the factors
 */
function planFactors(
  { name, weight, target }: Pick<PlannedTensor, 'name' | 'weight' | 'target'>,
  factoring: Factoring,
  ranks: ReadonlyMap<string, number> | undefined,
): FactorDecision {
  if (weight.kind !== 'dense') return { refused: 'it is compressed already' };
  const own = denseFormatOf(weight.info.type);
  if (!own || weight.shape.length !== 2 || weight.shape.includes(0)) return { refused: `it is ${weight.info.type}` };
  const [rows, columns] = weight.shape as readonly [number, number];
  const format = factoring.factors ?? own;
  const base = factoring.residual ? (target ?? own) : undefined;
  checkRow(format, columns, factorsOf(name).right);
  const rank = rankOf(name, factoring, rows, columns, format, ranks);
  if (rank !== undefined && rank > Math.min(rows, columns)) {
    return { refused: `a rank of ${rank} is above its smaller side` };
  }
  const factors = { rank, factoring, whole: own, base, format };
  // What pruning leaves takes as much room as before, zeros included.
  if (rank !== undefined && base?.kind === 'block' && bytesOf(name, factors, rows, columns) >= weight.info.byteLength) {
    return { refused: `with factors of rank ${rank} it would take as much room as before` };
  }
  if (rank !== undefined && !base && !pays(rank, rows, columns)) {
    if (factoring.target.budget === 'time') return { refused: 'whole it is as fast, or loses less in the time' };
    return { refused: `factors of rank ${rank} would have as many parameters` };
  }
  return { factors };
}

function rankOf(
  name: string,
  { target }: Factoring,
  rows: number,
  columns: number,
  format: Format,
  ranks: ReadonlyMap<string, number> | undefined,
): number | undefined {
  const { block } = format;
  if (target.rank !== undefined) {
    checkRow(format, target.rank, factorsOf(name).left);
    return target.rank;
  }
  const found = rankBySize(target, rows, columns);
  // Rows of the left factor are as long as the rank: whole blocks.
  if (found !== undefined) return Math.max(1, Math.floor(found / block)) * block;
  const needed = ranks?.get(name);
  if (needed === undefined) return undefined;
  const blocks = needed / block;
  // A budget is not to be exceeded, an energy is to be reached.
  return block * (target.energy === undefined ? Math.max(1, Math.floor(blocks)) : Math.ceil(blocks));
}

const bytesOf = (name: string, factors: PlannedFactors, rows: number, columns: number): number =>
  specsOf(name, factors, rows, columns).reduce((sum, spec) => sum + byteLengthOf(spec), 0);

/** A part of a factored matrix. */
export interface FactorPart {
  readonly name: string;
  readonly format: Format;
  readonly rows: number;
  readonly columns: number;
}

/** The matrices that one becomes, in the order in which they are written. */
export function partsOfFactors(name: string, factors: PlannedFactors, rows: number, columns: number): FactorPart[] {
  const { base, left, right } = factorsOf(name);
  const { format, rank = 1 } = factors;
  return [
    ...(factors.base ? [{ name: base, format: factors.base, rows, columns }] : []),
    { name: right, format, rows: rank, columns },
    { name: left, format, rows, columns: rank },
  ];
}

const tensorName = ({ name, format }: FactorPart, array: string): string =>
  format.kind === 'dense' ? name : `${name}.${array}`;

/** The tensors that hold them. */
export function specsOf(name: string, factors: PlannedFactors, rows: number, columns: number): TensorSpec[] {
  return partsOfFactors(name, factors, rows, columns).flatMap((part) =>
    part.format.arrays.map(
      (array): TensorSpec => ({
        name: tensorName(part, array.name),
        type: array.type,
        shape: arrayShape(array, part.rows, part.columns),
      }),
    ),
  );
}

/** How a weight tree describes it. */
export function nodeOfFactors(name: string, factors: PlannedFactors, rows: number, columns: number): WeightNode {
  const nodes = partsOfFactors(name, factors, rows, columns).map((part): WeightNode => {
    const { format } = part;
    if (format.kind === 'dense') return { kind: 'dense', data: part.name };
    return {
      ...{ kind: 'quantized', format: format.name, group: groupOf(format, part.columns) },
      shape: [part.rows, part.columns],
      parts: Object.fromEntries(format.arrays.map((array) => [array.name, tensorName(part, array.name)])),
    };
  });
  const [right, left] = nodes.slice(-2) as [WeightNode, WeightNode];
  const product: WeightNode = { kind: 'low-rank', rank: factors.rank ?? 1, left, right };
  return factors.base ? { kind: 'sum', terms: [nodes[0]!, product] } : product;
}

/** A tensor of a plan as factors. */
function asFactors(tensor: PlannedTensor, factors: PlannedFactors): PlannedTensor {
  const [rows, columns] = tensor.weight.shape as readonly [number, number];
  const specs = specsOf(tensor.name, factors, rows, columns);
  const { rank, base, format } = factors;
  return {
    ...{ ...tensor, specs, factors },
    report: {
      ...tensor.report,
      format: base ? `${base.name} + ${format.name}` : format.name,
      bytesAfter: specs.reduce((sum, spec) => sum + byteLengthOf(spec), 0),
      factors: { rank: rank ?? null, residual: base !== undefined },
    },
  };
}

/** The tensor as factors; as it is where they would take as much room, or where no product is known for its part in the model. */
export function withFactors(
  tensor: PlannedTensor,
  factoring: Factoring,
  ranks: ReadonlyMap<string, number> | undefined,
  notices: string[],
): PlannedTensor {
  if (tensor.report.role !== 'linear' || tensor.weight.kind !== 'dense') return tensor;
  const decided = planFactors(tensor, factoring, ranks);
  if ('factors' in decided) return asFactors(tensor, decided.factors);
  notices.push(`${quote(tensor.name)} is not factored: ${decided.refused}.`);
  const factors = { rank: null, residual: factoring.residual };
  return { ...tensor, report: { ...tensor.report, factors } };
}

/** Where an output has no place for factors. */
export const noFactors = (name: string): FormatError =>
  new FormatError(
    `${quote(name)} would become factors, which GGUF has no tensors for. Write a folder or a .safetensors file.`,
  );
