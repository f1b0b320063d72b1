import type { Numbers } from './array.ts';

/** silu(gate) · up element by element, with silu(g) = g / (1 + exp(−g)): the gate of a SwiGLU block (Shazeer, 2020). */
export function siluMul(gate: Numbers, up: Numbers): Float64Array {
  return Float64Array.from(gate, (g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
}
