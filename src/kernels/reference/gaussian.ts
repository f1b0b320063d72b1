import { pcg } from '../../graph/reference/random.ts';

/**
 * Two normal deviates that belong to (seed, position), by Box and Muller: the upper 16 bits of the hash are the radius, which ends at 4.9, the lower 16 the angle, from −π, where WGSL's functions are accurate. In f64;
 * devices are off by what their logarithms and cosines are.
 */
export function gaussian2(seed: number, position: number): [number, number] {
  const bits = pcg((pcg(seed) + (position >>> 0)) >>> 0);
  const radius = Math.sqrt(-2 * Math.log(((bits >>> 16) + 0.5) * 2 ** -16));
  const angle = ((bits & 0xffff) - 2 ** 15) * (2 * Math.PI * 2 ** -16);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

/** The matrix [rows, columns] that a seed stands for in a product. */
export function gaussianMatrix(seed: number, rows: number, columns: number): Float64Array {
  const fours = Math.ceil(columns / 4);
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    const pair = 2 * (row * fours + (column >> 2)) + ((column >> 1) & 1);
    return gaussian2(seed, pair)[column & 1]!;
  });
}
