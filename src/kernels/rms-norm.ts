import source from '../../shaders/layers/rms_norm.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';

export interface RmsNormArguments {
  readonly x: BufferView;
  /** f32, `width` elements. */
  readonly weight: BufferView;
  readonly out: BufferView;
  readonly epsilon: number;
  readonly tokens: number;
  readonly width: number;
  /** Threads that share a row: a power of two up to 256, since sums go over a binary tree. Default 256. */
  readonly threads?: number;
}

/** out = x / sqrt(mean(x^2) + epsilon) * weight for each row. */
export function rmsNormStep({ x, weight, out, epsilon, tokens, width, threads = 256 }: RmsNormArguments): Step {
  const label = 'rms-norm';
  checkSizes(label, { tokens, width });
  if (!(epsilon > 0 && epsilon <= 1)) throw new ArgumentError(`${label}: epsilon is ${epsilon}; give one in (0, 1].`);
  const count = tokens * width;
  return {
    label,
    kernel: { source, constants: { WORKGROUP: threads } },
    bindings: [reads(label, 'x', x, count), reads(label, 'weight', weight, width), writes(label, 'out', out, count)],
    params: packParams(tokens, width, { f32: epsilon }),
    grid: grid1d(tokens),
    bytes: 4 * (2 * count + width),
    operations: 4 * count,
  };
}
