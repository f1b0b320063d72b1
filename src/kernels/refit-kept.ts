import refitKept from '../../shaders/prune/refit_kept.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { CODES_BLOCK } from './choose-codes.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { transposedProductStep } from './transposed-product.ts';

const THREADS = 64;

/** What fitting the weights that stay reads and writes. */
export interface RefitKeptArguments {
  /** f32 [k, k]: a Cholesky factor mirrored below its diagonal, or H itself, in the order of `order`. */
  readonly matrix: BufferView;
  /**
   * `factor`: one pass from the last column to the first, each under what the columns after it lost (SparseGPT); errors are zero before.
   * `descent`: each column under what all others lose (coordinate descent); errors are those of the weights that there are.
   */
  readonly pass: 'factor' | 'descent';
  /** f32 [k, rows]: the original weights, columns in the order of `order`. */
  readonly weights: BufferView;
  /** u32 [k]: the column of the matrix that is at each place. */
  readonly order: BufferView;
  /** u32 [maskWords(rows, k)], in the matrix's own order of columns. */
  readonly mask: BufferView;
  /** f32 [k, rows]: what is lost, w − ŵ; all of w where the mask leaves a weight out. */
  readonly errors: BufferView;
  /** f32 [CODES_BLOCK, rows] */
  readonly scratch: BufferView;
  readonly rows: number;
  readonly k: number;
  readonly label?: string;
}

/**
 * Moves the weights that stay so that tr(ΔW H ΔWᵀ) becomes small, the others being zero. SparseGPT's update (Frantar and Alistarh 2023) in the form of LDLQ, as
 * `chooseCodesSteps` has it: with H = UᵀU, columns taken from the last to the first, a weight that stays becomes w + Σ_{r > c} e_r U[c, r] / U[c, c].
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function refitKeptSteps(args: RefitKeptArguments): Step[] {
  const { matrix, pass, weights, order, mask, errors, scratch, rows, k, label = 'refit kept' } = args;
  checkSizes(label, { rows, k });
  checkSizes(label, { k, columns: k });
  const words = Math.ceil(k / 32);
  const steps: Step[] = [];
  for (let start = Math.floor((k - 1) / CODES_BLOCK) * CODES_BLOCK; start >= 0; start -= CODES_BLOCK) {
    const count = Math.min(CODES_BLOCK, k - start);
    steps.push(
      transposedProductStep({
        a: { ...matrix, width: k, start },
        b: { ...errors, width: rows },
        ...{ c: scratch, rows: count, columns: rows },
        ...{ from: pass === 'factor' ? start + count : 0, to: k, label: `${label}: product` },
      }),
      {
        label: `${label}: columns`,
        kernel: { source: refitKept, constants: { WORKGROUP: THREADS } },
        bindings: [
          reads(label, 'matrix', matrix, k * k),
          reads(label, 'scratch', scratch, count * rows),
          reads(label, 'weights', weights, k * rows),
          reads(label, 'order', order, k),
          reads(label, 'mask', mask, rows * words),
          writes(label, 'errors', errors, k * rows),
        ],
        params: packParams(k, rows, start, count, words),
        grid: [Math.ceil(rows / THREADS), 1, 1],
      },
    );
  }
  return steps;
}
