import gelu from '../../shaders/layers/gelu_mul.wgsl';
import silu from '../../shaders/layers/silu_mul.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

const SOURCES = { silu, gelu } as const;
const OPERATIONS = { silu: 6, gelu: 10 } as const;

export interface GatedArguments {
  /** GELU is its tanh form. */
  readonly activation: keyof typeof SOURCES;
  readonly gate: BufferView;
  readonly up: BufferView;
  /** Neither `gate` nor `up`. */
  readonly out: BufferView;
  /** Elements. */
  readonly count: number;
}

/** out = activation(gate) * up. */
export function gatedStep({ activation, gate, up, out, count }: GatedArguments): Step {
  const label = `${activation}-mul`;
  checkSizes(label, { count });
  return {
    label,
    ...each(count, { source: SOURCES[activation] }),
    bindings: [reads(label, 'gate', gate, count), reads(label, 'up', up, count), writes(label, 'out', out, count)],
    params: packParams(count),
    bytes: 12 * count,
    operations: OPERATIONS[activation] * count,
  };
}
