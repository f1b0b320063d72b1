import aligned from '../../shaders/algebra/transposed_product.wgsl';
import any from '../../shaders/algebra/transposed_product_any.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** Some columns of a row-major f32 matrix. */
export interface ColumnsView extends BufferView {
  /** Columns of the whole matrix. */
  readonly width: number;
  /** The first column that takes part; default 0. */
  readonly start?: number;
}

/** What a product Aᵀ B reads and writes. */
export interface TransposedProductArguments {
  readonly a: ColumnsView;
  readonly b: ColumnsView;
  /** f32 [rows, columns] */
  readonly c: BufferView;
  /** Columns of A that take part: rows of C. */
  readonly rows: number;
  /** Columns of B that take part: columns of C. */
  readonly columns: number;
  /** First and one-past-last row of A and B that the sums run over. An empty range makes zeros. */
  readonly from: number;
  readonly to: number;
  /** Factor on what C holds; default 0: it is replaced. */
  readonly keep?: number;
  /** Factor on the product; default 1. */
  readonly factor?: number;
  /** C is symmetric because A is B: half of it is computed, the rest mirrored. */
  readonly symmetric?: boolean;
  readonly label?: string;
}

/** Rows and columns of C that a workgroup covers. */
const TILE = 64;

/**
 * C = keep · C + factor · Aᵀ B, in f32. Sums run over 32 rows at a time, then over those: an element is off by at most
 * (32 + rows / 32 + 3) · 2^-24 · (|A|ᵀ |B|).
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function transposedProductStep(args: TransposedProductArguments): Step {
  const { a, b, c, rows, columns, from, to, keep = 0, factor = 1, symmetric = false, label = 'product' } = args;
  checkSizes(label, { rows, columns });
  const { width: aWidth, start: aStart = 0 } = a;
  const { width: bWidth, start: bStart = 0 } = b;
  if (!(from >= 0 && from <= to)) throw new ArgumentError(`${label}: rows ${from} to ${to} are no range.`);
  if (aStart + rows > aWidth || bStart + columns > bWidth) {
    throw new ArgumentError(`${label}: the columns that take part reach beyond the matrix.`);
  }
  const height = Math.max(1, to);
  checkSizes(label, { height, width: Math.max(aWidth, bWidth) });
  const whole = [aWidth, aStart, bWidth, bStart, rows, columns].every((size) => size % 4 === 0);
  return {
    label,
    kernel: { source: whole ? aligned : any },
    bindings: [
      reads(label, 'a', a, height * aWidth),
      reads(label, 'b', b, height * bWidth),
      writes(label, 'c', c, rows * columns),
    ],
    params: packParams(
      ...[rows, columns, from, to, aWidth, aStart, bWidth, bStart, columns, Number(symmetric)],
      { f32: keep },
      { f32: factor },
    ),
    grid: [Math.ceil(columns / TILE), Math.ceil(rows / TILE), 1],
    bytes: 4 * ((to - from) * (rows + columns) + rows * columns),
    operations: (symmetric ? 1 : 2) * (to - from) * rows * columns,
  };
}
