import source from '../../shaders/layers/gelu_mul.wgsl';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';

const WORKGROUP = 256;

export interface GeluMulArguments {
  readonly gate: BufferView;
  readonly up: BufferView;
  /** Neither `gate` nor `up`. */
  readonly out: BufferView;
  /** Elements. */
  readonly count: number;
}

/** out = gelu(gate) * up, in GELU's tanh form. */
export function geluMulStep({ gate, up, out, count }: GeluMulArguments): Step {
  const label = 'gelu-mul';
  checkSizes(label, { count });
  return {
    label,
    kernel: { source, constants: { WORKGROUP } },
    bindings: [reads(label, 'gate', gate, count), reads(label, 'up', up, count), writes(label, 'out', out, count)],
    params: packParams(count),
    grid: grid1d(Math.ceil(count / WORKGROUP)),
    bytes: 12 * count,
    operations: 10 * count,
  };
}
