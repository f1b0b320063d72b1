import diagonal from '../../shaders/algebra/cholesky_diagonal.wgsl';
import panel from '../../shaders/algebra/cholesky_panel.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { transposedProductStep } from './transposed-product.ts';

/** Rows of a block: its factor lies in workgroup memory. */
export const CHOLESKY_BLOCK = 32;
const THREADS = 64;

/** What a Cholesky factorization reads and writes. */
export interface CholeskyArguments {
  /** f32 [n, n], symmetric; becomes the factor U of M = UᵀU, mirrored below the diagonal. */
  readonly matrix: BufferView;
  readonly n: number;
  /** f32 [CHOLESKY_BLOCK, n] */
  readonly scratch: BufferView;
  /** u32, zero before: becomes 1 + the column of the first pivot that is not above `least`; the factor is then of no use. */
  readonly failed: BufferView;
  /** Default 0. A positive definite matrix with a known bound of its eigenvalues breaks down before its pivots fall below zero. */
  readonly least?: number;
  readonly label?: string;
}

/**
 * The Cholesky factor of a symmetric, positive definite matrix, in f32, by blocks of 32 rows from the top: what the rows above contribute to a
 * block is one product of matrices, which is nearly all of the work (n³/3 multiply-adds; Golub and Van Loan, Matrix Computations, 4.2).
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function choleskySteps(args: CholeskyArguments): Step[] {
  const { matrix, n, scratch, failed, least = 0, label = 'cholesky' } = args;
  checkSizes(label, { n, rows: n });
  const steps: Step[] = [];
  for (let start = 0; start < n; start += CHOLESKY_BLOCK) {
    const count = Math.min(CHOLESKY_BLOCK, n - start);
    const width = n - start;
    const columns = { ...matrix, width: n, start };
    const params = packParams(n, start, count, { f32: least });
    const done = reads(label, 'scratch', scratch, count * width);
    const m = writes(label, 'matrix', matrix, n * n);
    steps.push(
      transposedProductStep({
        a: columns,
        b: columns,
        c: scratch,
        rows: count,
        columns: width,
        from: 0,
        to: start,
        label: `${label}: product`,
      }),
      {
        label: `${label}: diagonal`,
        kernel: { source: diagonal },
        bindings: [done, m, writes(label, 'failed', failed, 1)],
        params,
        grid: [1, 1, 1],
      },
    );
    if (width > count) {
      steps.push({
        label: `${label}: panel`,
        kernel: { source: panel, constants: { WORKGROUP: THREADS } },
        bindings: [done, m],
        params,
        grid: [Math.ceil((width - count) / THREADS), 1, 1],
      });
    }
  }
  return steps;
}
