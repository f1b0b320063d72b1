import type { Numbers } from './array.ts';

/**
 * y = x / √(mean(x²) + epsilon) · (weight + offset), for each row of x (rows × weight.length).
 * Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; epsilon inside the root as Llama has it.
 */
export function rmsNorm(x: Numbers, weight: Numbers, epsilon: number, offset = 0): Float64Array {
  const width = weight.length;
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += width) {
    let squares = 0;
    for (let i = 0; i < width; i++) squares += x[start + i]! ** 2;
    const factor = 1 / Math.sqrt(squares / width + epsilon);
    for (let i = 0; i < width; i++) out[start + i] = x[start + i]! * factor * (weight[i]! + offset);
  }
  return out;
}
