import { cholesky } from './cholesky.ts';

/** M⁻¹B for a symmetric, positive definite M [n, n] and B [n, columns], in f64. */
export function solve(m: ArrayLike<number>, b: ArrayLike<number>, n: number, columns: number): Float64Array {
  const u = cholesky(m, n);
  if (!u) throw new Error('The matrix is not positive definite.');
  const z = Float64Array.from(b);
  for (let c = 0; c < columns; c++) {
    for (let i = 0; i < n; i++) {
      let sum = z[i * columns + c]!;
      for (let j = 0; j < i; j++) sum -= u[j * n + i]! * z[j * columns + c]!;
      z[i * columns + c] = sum / u[i * n + i]!;
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = z[i * columns + c]!;
      for (let j = i + 1; j < n; j++) sum -= u[i * n + j]! * z[j * columns + c]!;
      z[i * columns + c] = sum / u[i * n + i]!;
    }
  }
  return z;
}

/** What the columns `kept` of W [rows, k] become so that its outputs change least, [rows, kept], by H [k, k], damping included; in f64. */
export function refitColumns(
  w: ArrayLike<number>,
  h: ArrayLike<number>,
  kept: readonly number[],
  rows: number,
  k: number,
): Float64Array {
  const n = kept.length;
  const m = Float64Array.from({ length: n * n }, (_, at) => h[kept[Math.floor(at / n)]! * k + kept[at % n]!]!);
  const b = new Float64Array(n * rows);
  for (let i = 0; i < n; i++) {
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let j = 0; j < k; j++) sum += h[kept[i]! * k + j]! * w[row * k + j]!;
      b[i * rows + row] = sum;
    }
  }
  const z = solve(m, b, n, rows);
  return Float64Array.from({ length: rows * n }, (_, at) => z[(at % n) * rows + Math.floor(at / n)]!);
}

/**
 * What removing each unit costs, in f64: by how much tr((W' − W) H (W' − W)ᵀ) grows when its columns go and the others of `kept` are fitted to W. A unit
 * is `size` columns next to each other in `kept`.
 */
export function unitCosts(
  w: ArrayLike<number>,
  h: ArrayLike<number>,
  kept: readonly number[],
  size: number,
  rows: number,
  k: number,
): Float64Array {
  const costOf = (columns: readonly number[]): number => {
    const fitted = refitColumns(w, h, columns, rows, k);
    let cost = 0;
    const lost = new Float64Array(k);
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < k; j++) lost[j] = -w[row * k + j]!;
      for (const [i, column] of columns.entries()) lost[column]! += fitted[row * columns.length + i]!;
      for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) cost += lost[i]! * h[i * k + j]! * lost[j]!;
    }
    return cost;
  };
  const now = costOf(kept);
  return Float64Array.from({ length: kept.length / size }, (_, unit) => {
    const rest = kept.filter((_, i) => Math.floor(i / size) !== unit);
    return costOf(rest) - now;
  });
}
