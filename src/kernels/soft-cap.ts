import source from '../../shaders/layers/soft_cap.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, writes } from './exact.ts';

export interface SoftCapArguments {
  /** f32; replaced. */
  readonly y: BufferView;
  /** Elements. */
  readonly count: number;
  readonly cap: number;
}

/** y = cap * tanh(y / cap), in place. */
export function softCapStep({ y, count, cap }: SoftCapArguments): Step {
  const label = 'soft-cap';
  checkSizes(label, { count });
  checkSoftCap(label, cap);
  return {
    label,
    ...each(count, { source }),
    bindings: [writes(label, 'y', y, count)],
    params: packParams(count, { f32: cap }),
    bytes: 8 * count,
    operations: 10 * count,
  };
}

/** Both ends leave room in f32 for the division and the product. @throws ArgumentError */
export function checkSoftCap(label: string, cap: number): void {
  if (!(cap >= 1e-3 && cap <= 1e6))
    throw new ArgumentError(`${label}: the soft cap is ${cap}; give one from 0.001 to 1e6.`);
}
