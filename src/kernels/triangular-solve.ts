import identity from '../../shaders/algebra/identity.wgsl';
import solve from '../../shaders/algebra/triangular_solve.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { CHOLESKY_BLOCK } from './cholesky.ts';
import { each } from './each.ts';
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

/** What a triangular system takes besides. */
export interface TriangularSolveArguments extends CholeskySolveArguments {
  /** Solves U Z = B; else Uᵀ Z = B. */
  readonly backward: boolean;
}

/**
 * Solves Uᵀ Z = B, or U Z = B, for all columns: substitution by blocks of 32 rows, where what other blocks contribute is one product of matrices each
 * (Golub and Van Loan, Matrix Computations, 3.1).
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function triangularSolveSteps(args: TriangularSolveArguments): Step[] {
  const { factor, n, z, columns, scratch, backward, label = 'solve' } = args;
  checkSizes(label, { n, rows: n });
  checkSizes(label, { n, columns });
  const substitute = (start: number): Step[] => {
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
  return (backward ? starts.reverse() : starts).flatMap(substitute);
}

/**
 * Solves M Z = B for all columns by the Cholesky factor of M: forward and back substitution.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function choleskySolveSteps(args: CholeskySolveArguments): Step[] {
  return [...triangularSolveSteps({ ...args, backward: false }), ...triangularSolveSteps({ ...args, backward: true })];
}

/** What inverting a triangular matrix reads and writes. */
export interface TriangularInverseArguments {
  /** f32 [n, n]: U, mirrored below the diagonal, as `choleskySteps` leaves it. */
  readonly factor: BufferView;
  readonly n: number;
  /** f32 [n, n]: becomes the inverse of U, zero below the diagonal. */
  readonly inverse: BufferView;
  /** f32 [CHOLESKY_BLOCK, n] */
  readonly scratch: BufferView;
  readonly label?: string;
}

/**
 * The inverse of an upper triangular matrix, by back substitution.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function triangularInverseSteps(args: TriangularInverseArguments): Step[] {
  const { factor, n, inverse, scratch, label = 'inverse' } = args;
  return [
    {
      label: `${label}: identity`,
      ...each(n * n, { source: identity }),
      bindings: [writes(label, 'inverse', inverse, n * n)],
      params: packParams(n),
    },
    ...triangularSolveSteps({ factor, n, z: inverse, columns: n, scratch, backward: true, label }),
  ];
}
