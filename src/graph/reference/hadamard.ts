import type { Numbers } from './array.ts';

/**
 * y = H x for each run of `block` numbers, H being the orthonormal Hadamard matrix in Sylvester's order: H[i][j] = (−1)^(bits that i and j
 * share) / √block. By the fast Walsh-Hadamard transform. Source: Fino and Algazi, "Unified Matrix Treatment of the Fast Walsh-Hadamard
 * Transform", 1976.
 * @param block a power of two that divides the length of `x`
 */
export function hadamard(x: Numbers, block: number): Float64Array {
  const out = Float64Array.from(x);
  hadamardInPlace(out, block);
  return out;
}

/** The same, in place of `x`. */
export function hadamardInPlace(x: Float64Array, block: number): void {
  for (let half = 1; half < block; half *= 2) {
    for (let start = 0; start < x.length; start += 2 * half) {
      for (let i = start; i < start + half; i++) {
        const a = x[i]!;
        const b = x[i + half]!;
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const scale = 1 / Math.sqrt(block);
  for (let i = 0; i < x.length; i++) x[i] = x[i]! * scale;
}
