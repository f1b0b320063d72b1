import solve from '../../shaders/algebra/triangular_solve.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { CHOLESKY_BLOCK } from './cholesky.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { transposedProductStep } from './transposed-product.ts';

const THREADS = 64;

/** What solving a system reads and writes. */
export interface CholeskySolveArguments {
  /** f32 [n, n]: U of M = UᵀU, mirrored below the diagonal, as `choleskySteps` leaves it. */
  readonly factor: BufferView;
  readonly n: number;
  /** f32 [n, columns]: B, which becomes Z. */
  readonly z: BufferView;
  readonly columns: number;
  /** f32 [CHOLESKY_BLOCK, columns] */
  readonly scratch: BufferView;
  readonly label?: string;
}

/**
 * Solves M Z = B for all columns by the Cholesky factor of M: forward and back substitution by blocks of 32 rows, where what other blocks contribute
 * is one product of matrices each (Golub and Van Loan, Matrix Computations, 3.1).
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function choleskySolveSteps(args: CholeskySolveArguments): Step[] {
  const { factor, n, z, columns, scratch, label = 'solve' } = args;
  checkSizes(label, { n, rows: n });
  checkSizes(label, { n, columns });
  const substitute = (start: number, backward: boolean): Step[] => {
    const count = Math.min(CHOLESKY_BLOCK, n - start);
    return [
      transposedProductStep({
        a: { ...factor, width: n, start },
        b: { ...z, width: columns },
        ...{ c: scratch, rows: count, columns },
        ...(backward ? { from: start + count, to: n } : { from: 0, to: start }),
        label: `${label}: product`,
      }),
      {
        label: `${label}: substitution`,
        kernel: { source: solve, constants: { WORKGROUP: THREADS, BACKWARD: Number(backward) } },
        bindings: [
          reads(label, 'factor', factor, n * n),
          reads(label, 'scratch', scratch, count * columns),
          writes(label, 'z', z, n * columns),
        ],
        params: packParams(n, columns, start, count),
        grid: [Math.ceil(columns / THREADS), 1, 1],
      },
    ];
  };
  const starts = Array.from({ length: Math.ceil(n / CHOLESKY_BLOCK) }, (_, i) => i * CHOLESKY_BLOCK);
  return [
    ...starts.flatMap((start) => substitute(start, false)),
    ...starts.toReversed().flatMap((start) => substitute(start, true)),
  ];
}
