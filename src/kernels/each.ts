import { grid1d, type Kernel, type Step } from '../gpu/kernel.ts';

const WORKGROUP = 64;

/** Kernel and grid of a step in which a thread does each of `count` things: shaders over `common/each.wgsl`. */
export function each(count: number, kernel: Kernel): Pick<Step, 'kernel' | 'grid'> {
  return {
    kernel: { ...kernel, constants: { ...kernel.constants, WORKGROUP } },
    grid: grid1d(Math.ceil(count / WORKGROUP)),
  };
}
