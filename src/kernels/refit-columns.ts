import rightSides from '../../shaders/shrink/right_sides.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { gemmSteps } from './gemm.ts';
import { choleskySolveSteps } from './triangular-solve.ts';

/** What fitting the columns that stay reads and writes. */
export interface RefitColumnsArguments {
  /** f32 [rows, k] */
  readonly weights: BufferView;
  /** f32 [k, k] */
  readonly hessian: BufferView;
  /** λ that was added to H's diagonal before it was factored. */
  readonly damping: number;
  /** u32 [n]: the columns that stay. */
  readonly columns: BufferView;
  /** f32 [n, n]: of (H + λI) in those columns, as `choleskySteps` leaves it. */
  readonly factor: BufferView;
  /** f32 [n, rows]: becomes the transpose of the fitted columns. */
  readonly fitted: BufferView;
  /** f32 [k, rows] */
  readonly products: BufferView;
  /** f32 [CHOLESKY_BLOCK, rows] */
  readonly scratch: BufferView;
  /** f32, `gemmScratch(k, rows, k)`; needed where that is not 0. */
  readonly parts?: BufferView | undefined;
  readonly rows: number;
  readonly k: number;
  readonly n: number;
}

/**
 * W' = W H₍:,S₎ H₍S,S₎⁻¹ with H + λI in place of H, transposed: what the columns S of W have to be so that W'x₍S₎ is as near to Wx as it can be, mean
 * square over the inputs that H is of, and λ‖W' − W₍S₎‖² away from where they were.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function refitColumnsSteps(args: RefitColumnsArguments): Step[] {
  const { weights, hessian, damping, columns, factor, fitted, products, scratch, parts, rows, k, n } = args;
  const label = 'refit columns';
  checkSizes(label, { rows, k });
  checkSizes(label, { n, rows });
  return [
    ...gemmSteps({
      a: { ...hessian, width: k },
      b: { ...weights, width: k, transposed: true },
      c: { ...products, width: rows },
      ...{ rows: k, columns: rows, inner: k },
      ...(parts && { scratch: parts }),
      label: `${label}: product`,
    }),
    {
      label: `${label}: right sides`,
      ...each(n * rows, { source: rightSides }),
      bindings: [
        reads(label, 'products', products, k * rows),
        reads(label, 'weights', weights, rows * k),
        reads(label, 'columns', columns, n),
        writes(label, 'fitted', fitted, n * rows),
      ],
      params: packParams(n, rows, k, { f32: damping }),
      bytes: 12 * n * rows,
    },
    ...choleskySolveSteps({ factor, n, z: fitted, columns: rows, scratch, label }),
  ];
}
