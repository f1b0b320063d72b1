import type { Numbers } from './array.ts';

/**
 * gelu(gate) · up element by element, with the tanh form gelu(g) = g / 2 · (1 + tanh(√(2/π) · (g + 0.044715 · g³))).
 * Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016; as a gate: Shazeer, 2020.
 */
export function geluMul(gate: Numbers, up: Numbers): Float64Array {
  return Float64Array.from(gate, (g, i) => {
    // 1 + tanh(u) = 2 / (1 + exp(−2u)), which keeps its digits where tanh comes near −1.
    const u = Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
    return (g / (1 + Math.exp(-2 * u))) * up[i]!;
  });
}
