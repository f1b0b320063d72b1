import source from '../../shaders/layers/add.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

export interface AddArguments {
  readonly a: BufferView;
  readonly b: BufferView;
  /** Neither `a` nor `b`. */
  readonly out: BufferView;
  /** Elements. */
  readonly count: number;
}

/** out = a + b. */
export function addStep({ a, b, out, count }: AddArguments): Step {
  const label = 'add';
  checkSizes(label, { count });
  return {
    label,
    ...each(count, { source }),
    bindings: [reads(label, 'a', a, count), reads(label, 'b', b, count), writes(label, 'out', out, count)],
    params: packParams(count),
    bytes: 12 * count,
    operations: count,
  };
}
