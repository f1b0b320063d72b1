import { composeShader } from '../gpu/compiler.ts';
import type { Step } from '../gpu/kernel.ts';

/**
 * A name for what some steps run: their shaders as compiled, constants and grids. What was timed holds as long as it is the same, so that no
 * number has to be counted up by hand.
 */
export function kernelVersion(steps: readonly Pick<Step, 'kernel' | 'grid'>[]): string {
  let [a, b] = [0x811c9dc5, 0x9747b28c];
  const add = (text: string) => {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      // FNV-1a, and the same with another factor: nobody is kept from finding collisions, but none happens.
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b ^ code, 0x85ebca6b) ^ (b >>> 13);
    }
  };
  for (const { kernel, grid } of steps) {
    const { constants, features, entryPoint } = kernel;
    add(composeShader(kernel).code);
    add(JSON.stringify([constants, features, entryPoint, grid]));
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
