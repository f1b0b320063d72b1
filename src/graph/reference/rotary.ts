import type { Rotary } from '../graph.ts';
import type { Numbers } from './array.ts';

/**
 * Rotates each pair (i, i + headDim/2) of each head by position · inverseFrequencies[i]. Row r stands at position
 * `start` + r. Source: Su et al., "RoFormer", 2021; the pairing is that of Hugging Face's `rotate_half`.
 */
export function rotary(
  x: Numbers,
  width: number,
  { headDim, inverseFrequencies }: Rotary,
  start: number,
): Float64Array {
  const half = headDim / 2;
  const out = new Float64Array(x.length);
  for (let row = 0; row < x.length / width; row++) {
    for (let i = 0; i < half; i++) {
      const angle = (start + row) * inverseFrequencies[i]!;
      const cos = Math.cos(angle);
      const sin = Math.sin(angle);
      for (let head = row * width; head < (row + 1) * width; head += headDim) {
        const a = x[head + i]!;
        const b = x[head + half + i]!;
        out[head + i] = a * cos - b * sin;
        out[head + half + i] = b * cos + a * sin;
      }
    }
  }
  return out;
}
