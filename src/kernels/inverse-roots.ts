import inverseRoots from '../../shaders/prune/inverse_roots.wgsl';
import unitMatrix from '../../shaders/prune/unit_matrix.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { choleskySolveSteps } from './triangular-solve.ts';

/** What finding the diagonal of an inverse reads and writes. */
export interface InverseRootsArguments {
  /** f32 [n, n]: as `choleskySteps` leaves it. */
  readonly factor: BufferView;
  /** u32 [n] */
  readonly order: BufferView;
  /** f32 [n] */
  readonly factors: BufferView;
  /** f32 [n, n] */
  readonly inverse: BufferView;
  /** f32 [CHOLESKY_BLOCK, n] */
  readonly scratch: BufferView;
  readonly n: number;
}

/**
 * factors[order[i]] = 1 / √[M⁻¹]_ii by the Cholesky factor of M: |w| · factor ranks weights by w² / [H⁻¹]_jj, what removing one costs once the others
 * make up for it (Hassibi and Stork 1993). f32 [n].
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function inverseRootsSteps(args: InverseRootsArguments): Step[] {
  const { factor, order, factors, inverse, scratch, n } = args;
  const label = 'diagonal of the inverse';
  checkSizes(label, { n, columns: n });
  return [
    {
      label,
      ...each(n * n, { source: unitMatrix }),
      bindings: [writes(label, 'inverse', inverse, n * n)],
      params: packParams(n),
    },
    ...choleskySolveSteps({ factor, n, z: inverse, columns: n, scratch, label }),
    {
      label,
      ...each(n, { source: inverseRoots }),
      bindings: [
        reads(label, 'inverse', inverse, n * n),
        reads(label, 'order', order, n),
        writes(label, 'factors', factors, n),
      ],
      params: packParams(n),
    },
  ];
}
