/**
 * Q [rows, columns] and R of a row-major matrix, in f64, by Gram and Schmidt, each column held twice against those before it. Columns that depend on
 * those before become zeros.
 */
export function qr(matrix: ArrayLike<number>, rows: number, columns: number): { q: Float64Array; r: Float64Array } {
  const q = Float64Array.from(matrix);
  const r = new Float64Array(columns * columns);
  const dot = (i: number, j: number) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += q[row * columns + i]! * q[row * columns + j]!;
    return sum;
  };
  for (let j = 0; j < columns; j++) {
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < j; i++) {
        const share = dot(i, j);
        r[i * columns + j]! += share;
        for (let row = 0; row < rows; row++) q[row * columns + j]! -= share * q[row * columns + i]!;
      }
    }
    const norm = Math.sqrt(dot(j, j));
    r[j * columns + j] = norm;
    for (let row = 0; norm > 0 && row < rows; row++) q[row * columns + j]! /= norm;
  }
  return { q, r };
}
