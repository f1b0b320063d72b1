import centerHessian from '../../shaders/shrink/center_hessian.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** h[i, j] = h[i, j] − mean[i] · mean[j]: f32 [n, n], mean f32 [n]. Of H = XXᵀ/T and the mean of X it makes the covariance. @throws ArgumentError */
export function centerHessianStep(args: {
  readonly hessian: BufferView;
  readonly mean: BufferView;
  readonly n: number;
}): Step {
  const { hessian, mean, n } = args;
  const label = 'center H';
  checkSizes(label, { n, rows: n });
  return {
    label,
    ...each(n * n, { source: centerHessian }),
    bindings: [reads(label, 'mean', mean, n), writes(label, 'hessian', hessian, n * n)],
    params: packParams(n),
    bytes: 8 * n * n,
  };
}
