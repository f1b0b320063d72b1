import columnScales from '../../shaders/algebra/column_scales.wgsl';
import scaleInto from '../../shaders/algebra/scale_into.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { reads, writes } from './exact.ts';
import type { MatrixView, Operand } from './gemm.ts';

/** Words from the first element of a matrix [rows, columns] to behind its last, and its strides. */
function reach({ width, start = 0, transposed = false }: Operand, rows: number, columns: number) {
  const [high, wide] = transposed ? [columns, rows] : [rows, columns];
  return { words: start + (high - 1) * width + wide, row: transposed ? 1 : width, column: transposed ? width : 1 };
}

/** Columns per workgroup of column_scales.wgsl. */
const COLUMNS = 16;

/** For each column of `x` [rows, columns] the power of two that brings its largest magnitude to 1 .. 2; 1 for zeros. `scales`: f32 [columns] */
export function columnScalesStep(x: Operand, rows: number, columns: number, scales: BufferView, label: string): Step {
  const { words, row, column } = reach(x, rows, columns);
  return {
    label: `${label}: scales`,
    kernel: { source: columnScales },
    bindings: [reads(label, 'x', x, words), writes(label, 'scales', scales, columns)],
    params: packParams(rows, columns, x.start ?? 0, row, column),
    grid: [Math.ceil(columns / COLUMNS), 1, 1],
    bytes: 4 * rows * columns,
  };
}

/** out = x with each column times its factor, the first of them at `first`. */
export function scaleIntoStep(
  x: Operand,
  factors: BufferView & { readonly first?: number },
  out: MatrixView,
  rows: number,
  columns: number,
  label: string,
): Step {
  const { words, row, column } = reach(x, rows, columns);
  const { first = 0 } = factors;
  return {
    label: `${label}: scaling`,
    ...each(rows * columns, { source: scaleInto }),
    bindings: [
      reads(label, 'x', x, words),
      reads(label, 'factors', factors, first + columns),
      writes(label, 'out', out, reach(out, rows, columns).words),
    ],
    params: packParams(rows, columns, x.start ?? 0, row, column, out.start ?? 0, out.width, first),
    bytes: 8 * rows * columns,
  };
}
