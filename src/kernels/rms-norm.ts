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
  /** Added to the weight; default 0. */
  readonly offset?: number;
  /** Rows: tokens, or tokens times heads where each head is a row. */
  readonly tokens: number;
  readonly width: number;
  /** Threads that share a row: a power of two up to 256, since sums go over a binary tree. Default 256. */
  readonly threads?: number;
  /** The result is added to what `out` holds. */
  readonly adds?: boolean;
}

/** out = x / sqrt(mean(x^2) + epsilon) * (weight + offset) for each row. */
export function rmsNormStep(args: RmsNormArguments): Step {
  const { x, weight, out, epsilon, offset = 0, tokens, width, threads = 256, adds = false } = args;
  const label = 'rms-norm';
  checkSizes(label, { tokens, width });
  if (!(epsilon > 0 && epsilon <= 1)) throw new ArgumentError(`${label}: epsilon is ${epsilon}; give one in (0, 1].`);
  if (!Number.isFinite(offset)) throw new ArgumentError(`${label}: the offset is ${offset}.`);
  const count = tokens * width;
  return {
    label,
    kernel: { source, constants: { WORKGROUP: threads } },
    bindings: [reads(label, 'x', x, count), reads(label, 'weight', weight, width), writes(label, 'out', out, count)],
    params: packParams(tokens, width, { f32: epsilon }, { f32: offset }, adds ? 1 : 0),
    grid: grid1d(tokens),
    bytes: 4 * (2 * count + width),
    operations: 4 * count,
  };
}
