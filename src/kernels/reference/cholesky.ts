/** The upper factor U of a symmetric matrix M = UᵀU [n, n], zero below the diagonal, in f64; undefined where a pivot is not positive. */
export function cholesky(matrix: ArrayLike<number>, n: number): Float64Array | undefined {
  const u = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = matrix[i * n + j]!;
      for (let k = 0; k < i; k++) sum -= u[k * n + i]! * u[k * n + j]!;
      if (i === j && !(sum > 0)) return undefined;
      u[i * n + j] = i === j ? Math.sqrt(sum) : sum / u[i * n + i]!;
    }
  }
  return u;
}
