/**
 * The singular values of a row-major matrix [rows, columns], largest first, in f64: one-sided Jacobi (Hestenes 1958) on the columns of its smaller side, sweeps over all pairs until none
 * has a cosine above 1e-14. Accurate to a few units in the last place of the largest.
 */
export function singularValues(matrix: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const wide = rows < columns;
  const [length, count] = wide ? [columns, rows] : [rows, columns];
  const x = Array.from({ length: count }, (_, j) =>
    Float64Array.from({ length }, (_, i) => matrix[wide ? j * columns + i : i * columns + j]!),
  );
  const dot = (a: Float64Array, b: Float64Array) => {
    let sum = 0;
    for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
    return sum;
  };
  // Twice over: squares of very large and very small values would not fit.
  const largest = x.reduce((most, row) => row.reduce((max, value) => Math.max(max, Math.abs(value)), most), 0);
  if (largest === 0) return new Float64Array(count);
  for (const row of x) for (let i = 0; i < length; i++) row[i]! /= largest;
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < count; p++) {
      for (let q = p + 1; q < count; q++) {
        const [one, other] = [x[p]!, x[q]!];
        const [a, b, c] = [dot(one, one), dot(other, other), dot(one, other)];
        if (!(Math.abs(c) > 1e-14 * Math.sqrt(a * b) && Math.abs(c) > 1e-32)) continue;
        turned = true;
        const zeta = (b - a) / (2 * c);
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + t * t);
        const sine = cosine * t;
        for (let i = 0; i < length; i++) {
          const [v, w] = [one[i]!, other[i]!];
          one[i] = cosine * v - sine * w;
          other[i] = sine * v + cosine * w;
        }
      }
    }
  }
  return Float64Array.from(x, (row) => largest * Math.sqrt(dot(row, row)))
    .sort()
    .reverse();
}
