/** Aᵀ B of row-major matrices [rows, m] and [rows, n], in f64. */
export function transposedProduct(a: ArrayLike<number>, b: ArrayLike<number>, m: number, n: number): Float64Array {
  const c = new Float64Array(m * n);
  for (let t = 0; t < a.length / m; t++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) c[i * n + j]! += a[t * m + i]! * b[t * n + j]!;
    }
  }
  return c;
}
