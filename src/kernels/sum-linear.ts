import vectorSum from '../../shaders/linear/vector_sum.wgsl';
import vectorSumAny from '../../shaders/linear/vector_sum_any.wgsl';
import { ArgumentError } from '../errors.ts';
import { isSparse } from '../formats/format.ts';
import { arrayBytes, shaderConstants } from '../formats/layout.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Columns, columnsOf, GATES } from './linear.ts';
import { type Weight, weightBindings } from './weight.ts';

/** Matrices of one input whose products are added up in one launch. */
const MOST_MATRICES = 3;
const THREADS = 64;
/** Threads that can share rows. */
export const MOST_LANES = THREADS;
const NO_ROW = 2 ** 32 - 1;

/** What a product with a matrix and a product of two reads and writes, for one token. */
export interface SumLinearArguments {
  /** f32 [base.k] */
  readonly x: BufferView;
  /** One matrix, or up to three behind each other: one part. */
  readonly base: Weight;
  /** f16 [base.rows, rank], one part. */
  readonly left: Weight;
  /** right x of each matrix: f32 [matrices, rank] */
  readonly inner: BufferView;
  /** Of each matrix. */
  readonly rows: readonly number[];
  readonly y: BufferView;
  readonly into?: Columns;
  /** The result is added to what y holds. */
  readonly adds?: boolean;
  /** As for `linearSteps`. */
  readonly gate?: 'silu' | 'gelu';
  /** Threads that share two rows: a power of two up to 64. */
  readonly lanes: number;
  readonly label?: string;
}

/** Whether `sumLinearStep` takes these. */
export const sumsInOne = (base: Weight, left: Weight, matrices: number): boolean =>
  matrices <= MOST_MATRICES &&
  base.parts.length === 1 &&
  left.parts.length === 1 &&
  base.format.activations === undefined &&
  !isSparse(base.format) &&
  left.format.name === 'f16' &&
  left.rows === base.rows;

/**
 * y = base x + left inner, in one launch: the sums are in f32, and those of left are part of the tree that adds those of base.
 * @throws ArgumentError for sizes, weights and buffers that do not fit
 */
export function sumLinearStep(args: SumLinearArguments): Step {
  const { x, base, left, inner, rows, y, gate, adds = false, lanes, label = 'sum' } = args;
  const { k, format } = base;
  const rank = left.k;
  const all = rows.reduce((sum, count) => sum + count, 0);
  if (!sumsInOne(base, left, rows.length) || all !== base.rows || (gate && base.rows % 2 !== 0)) {
    throw new ArgumentError(
      `${label}: ${base.rows} rows of ${format.name} and ${left.rows} of ${left.format.name} do not make ${rows.join(' + ')} rows of a sum.`,
    );
  }
  checkSizes(label, { k, rank });
  const { start, width } = columnsOf(label, gate ? all / 2 : all, args.into);
  // Where there is no further matrix, no row is: so that matrices alone share a pipeline.
  const [first = 0, second = 0, third] = rows;
  const ends = { FIRST: second > 0 ? first : NO_ROW, SECOND: third === undefined ? NO_ROW : first + second };
  const part = base.parts[0]!;
  const factor = left.parts[0]!.arrays[0]!;
  return {
    label,
    kernel: {
      source: k % 4 === 0 ? vectorSum : vectorSumAny,
      format: format.shader,
      constants: {
        ...{ ...shaderConstants(format, k), ...(gate && { GATE: GATES[gate] }) },
        ...{ LANES: lanes, ONE_TOKEN: 1, RANK: rank, ...ends },
      },
    },
    bindings: [
      reads(label, 'x', x, k),
      reads(label, 'inner', inner, rows.length * rank),
      writes(label, 'y', y, width),
      reads(label, 'left', factor, arrayBytes(left.format.arrays[0]!, left.rows, rank) / 4),
    ],
    weight: weightBindings(part),
    params: packParams(all, k, 1, 0, width, 0, start, Number(adds)),
    grid: grid1d(Math.ceil((all * lanes) / (THREADS * 2))),
    bytes: base.byteLength + left.byteLength + 4 * (k + all),
    operations: 2 * all * (k + rank),
  };
}
