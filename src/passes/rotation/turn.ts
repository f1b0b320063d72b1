import { hadamardInPlace } from '../../graph/reference/hadamard.ts';

/** Where folded weights are written: f64 keeps all that f64 sums give, f32 rounds them once. */
export type Folded = Float32Array | Float64Array;

/**
 * Turns each row of a matrix: multiplies its columns by `scale` and `signs`, then runs of `block` by the Hadamard matrix. Sums are in f64.
 * @param values rows × `k`, in place
 */
export function turnRows(
  values: Folded,
  k: number,
  block: number,
  { signs, scale }: { readonly signs?: Float64Array; readonly scale?: Float64Array | undefined } = {},
): void {
  const row = new Float64Array(k);
  for (let start = 0; start < values.length; start += k) {
    for (let i = 0; i < k; i++) row[i] = values[start + i]! * (scale?.[i] ?? 1) * (signs?.[i] ?? 1);
    hadamardInPlace(row, block);
    values.set(row, start);
  }
}

/** Columns that are turned together: a line of a CPU's cache. */
export const STRIP = 16;

/**
 * Turns some columns of a matrix: multiplies its rows by `signs`, then runs of `block` rows by the Hadamard matrix. Sums are in f64.
 * @param values rows × `k`, in place; whole blocks of rows
 * @param signs of these rows
 * @param column the first of up to 16 columns
 */
export function turnColumns(values: Folded, k: number, block: number, signs: Float64Array, column: number): void {
  const rows = values.length / k;
  const columns = Math.min(STRIP, k - column);
  const strip = new Float64Array(columns * block);
  for (let start = 0; start < rows; start += block) {
    for (let i = 0; i < block; i++) {
      const at = (start + i) * k + column;
      for (let j = 0; j < columns; j++) strip[j * block + i] = values[at + j]! * signs[start + i]!;
    }
    hadamardInPlace(strip, block);
    for (let i = 0; i < block; i++) {
      const at = (start + i) * k + column;
      for (let j = 0; j < columns; j++) values[at + j] = strip[j * block + i]!;
    }
  }
}
