import chooseCodes from '../../shaders/gptq/choose_codes.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Grid } from '../formats/format.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Marked, slotsOf } from './mark-columns.ts';
import { transposedProductStep } from './transposed-product.ts';

/** Columns of a block: their part of the matrix lies in workgroup memory. */
export const CODES_BLOCK = 32;
const THREADS = 64;

/** What choosing codes under given scales reads and writes. */
export interface ChooseCodesArguments {
  /** f32 [k, k]: a Cholesky factor mirrored below its diagonal, or H itself, in the order of `order`. */
  readonly matrix: BufferView;
  /**
   * `factor`: one pass from the last column to the first, each under what the columns after it lost (GPTQ); errors are zero before.
   * `descent`: each column under what all others lose (coordinate descent); errors are those of the codes that there are.
   * `nearest`: each column by itself; `matrix` has no say.
   */
  readonly pass: 'factor' | 'descent' | 'nearest';
  /** f32 [k, rows]: the weights, columns in the order of `order`. */
  readonly weights: BufferView;
  /** f32x2 [gridRows, slots / grid.group]: scale and offset, as `gridStep` gives them; slots are columns unless weights are packed. */
  readonly scales: BufferView;
  readonly gridRows: number;
  /** The row of `scales` that is the first of `weights`; default 0. */
  readonly firstRow?: number;
  readonly grid: Grid;
  /** u32 [k]: the column of the matrix that is at each place. */
  readonly order: BufferView;
  /** f32x2 [levels]: `levelTable(grid)`. */
  readonly table: BufferView;
  /** f32 [k, rows]: what is lost, w − ŵ. */
  readonly errors: BufferView;
  /** u32 [k, rows]; with the marks of `markColumnsStep` where a mask leaves weights out, which become what is nearest to 0. */
  readonly chosen: BufferView;
  readonly marked?: Marked | undefined;
  /** f32 [CODES_BLOCK, rows] */
  readonly scratch: BufferView;
  readonly rows: number;
  readonly k: number;
  readonly label?: string;
}

/** What the kernel looks codes up in: f32x2 [levels], each level and its code, by ascending level. */
export function levelTable({ levels }: Grid): Float32Array {
  const ascending = levels.map((level, code) => [level, code] as const).sort(([a], [b]) => a - b);
  return Float32Array.from(ascending.flat());
}

/** Whether levels are one apart, so that the nearest can be computed. */
function isUniform({ levels }: Grid): boolean {
  const ascending = levels.toSorted((a, b) => a - b);
  return ascending.every((level, i) => level === ascending[0]! + i);
}

/**
 * Chooses a code for every weight so that tr(ΔW H ΔWᵀ) becomes small, under scales that stay as they are. GPTQ (Frantar et al. 2023) in the form
 * of LDLQ (Chee et al. 2023, theorem 6), which gives the same codes in exact arithmetic and needs no inverse: with H = UᵀU in the order in which
 * columns are taken from the last to the first, column c is rounded at w + Σ_{r > c} e_r U[c, r] / U[c, c], e being what was lost. The sums over
 * columns of other blocks are one product of matrices for each block.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function chooseCodesSteps(args: ChooseCodesArguments): Step[] {
  const { matrix, pass, weights, scales, gridRows, firstRow = 0, grid, order, table, errors, chosen, scratch } = args;
  const { marked, rows, k, label = 'choose codes' } = args;
  checkSizes(label, { rows, k });
  checkSizes(label, { k, columns: k });
  const slots = slotsOf(marked, k);
  if (slots % grid.group !== 0)
    throw new ArgumentError(`${label}: groups of ${grid.group} do not divide ${slots} columns.`);
  if (firstRow + rows > gridRows) throw new ArgumentError(`${label}: there are no scales for all rows.`);
  const groups = slots / grid.group;
  const levels = grid.levels.length;
  const lowest = Math.min(...grid.levels);
  const alone = pass === 'nearest';
  const constants = {
    ...{ WORKGROUP: THREADS, UNIFORM: Number(isUniform(grid)) },
    ...{ ALONE: Number(alone), MARKED: Number(marked !== undefined) },
  };
  const steps: Step[] = [];
  for (let start = Math.floor((k - 1) / CODES_BLOCK) * CODES_BLOCK; start >= 0; start -= CODES_BLOCK) {
    const count = Math.min(CODES_BLOCK, k - start);
    steps.push(
      transposedProductStep({
        a: { ...matrix, width: k, start },
        b: { ...errors, width: rows },
        c: scratch,
        rows: count,
        columns: rows,
        from: pass === 'factor' ? start + count : 0,
        to: alone ? 0 : k,
        label: `${label}: product`,
      }),
      {
        label: `${label}: columns`,
        kernel: { source: chooseCodes, constants },
        bindings: [
          reads(label, 'matrix', matrix, k * k),
          reads(label, 'scratch', scratch, count * rows),
          reads(label, 'weights', weights, k * rows),
          reads(label, 'scales', scales, 2 * gridRows * groups),
          reads(label, 'order', order, k),
          reads(label, 'table', table, 2 * levels),
          writes(label, 'errors', errors, k * rows),
          writes(label, 'chosen', chosen, k * rows),
        ],
        params: packParams(k, rows, start, count, grid.group, levels, firstRow, groups, { f32: lowest }),
        grid: [Math.ceil(rows / THREADS), 1, 1],
      },
    );
  }
  return steps;
}
