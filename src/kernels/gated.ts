import gelu from '../../shaders/layers/gelu_mul.wgsl';
import silu from '../../shaders/layers/silu_mul.wgsl';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';

const WORKGROUP = 256;
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
    kernel: { source: SOURCES[activation], constants: { WORKGROUP } },
    bindings: [reads(label, 'gate', gate, count), reads(label, 'up', up, count), writes(label, 'out', out, count)],
    params: packParams(count),
    grid: grid1d(Math.ceil(count / WORKGROUP)),
    bytes: 12 * count,
    operations: OPERATIONS[activation] * count,
  };
}
