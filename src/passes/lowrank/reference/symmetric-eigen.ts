/**
 * Eigenvalues, largest first, and vectors of a symmetric matrix [n, n], in f64: cyclic Jacobi (1846), sweeps until what is off the diagonal is below 1e-15 of the whole.
 * @returns vectors [n, n], a column for each value
 */
export function symmetricEigen(
  matrix: ArrayLike<number>,
  n: number,
): { readonly values: Float64Array; readonly vectors: Float64Array } {
  const a = Float64Array.from(matrix);
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  const whole = Math.hypot(0, ...a);
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = 0; q < p; q++) off = Math.max(off, Math.abs(a[p * n + q]!));
    if (off <= 1e-15 * whole) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = a[p * n + q]!;
        if (apq === 0) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(1 + theta * theta));
        const c = 1 / Math.sqrt(1 + t * t);
        const s = c * t;
        const turn = (x: Float64Array, one: number, other: number) => {
          const [y, z] = [x[one]!, x[other]!];
          x[one] = c * y - s * z;
          x[other] = s * y + c * z;
        };
        for (let i = 0; i < n; i++) turn(a, i * n + p, i * n + q);
        for (let i = 0; i < n; i++) turn(a, p * n + i, q * n + i);
        for (let i = 0; i < n; i++) turn(v, i * n + p, i * n + q);
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j]! - a[i * n + i]!);
  return {
    values: Float64Array.from(order, (i) => a[i * n + i]!),
    vectors: Float64Array.from({ length: n * n }, (_, at) => v[Math.floor(at / n) * n + order[at % n]!]!),
  };
}
