import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { qr } from '../../../src/passes/lowrank/reference/qr.ts';
import { filled, gaussian } from '../layers/bench.ts';

/** Orthonormal columns [rows, columns], in f64. */
export const orthonormal = (rows: number, columns: number, next: () => number): Float64Array =>
  qr(
    filled(rows * columns, () => gaussian(next)),
    rows,
    columns,
  ).q;

/** U diag(values) Vᵀ with random orthonormal U and V, rounded to f32. */
export function withSpectrum(
  rows: number,
  columns: number,
  values: readonly number[],
  next: () => number,
): Float32Array {
  const count = values.length;
  const [u, v] = [orthonormal(rows, count, next), orthonormal(columns, count, next)];
  const scaled = u.map((value, i) => value * values[i % count]!);
  return Float32Array.from(
    gemm({ values: scaled, width: count }, { values: v, width: count, transposed: true }, rows, columns, count),
  );
}

/** Values that fall from 1 to 1 / condition by equal factors. */
export const geometric = (count: number, condition: number): number[] =>
  Array.from({ length: count }, (_, i) => condition ** (-i / Math.max(1, count - 1)));

/** The largest |XᵀX − I| of x [rows, columns]. */
export function deviation(x: ArrayLike<number>, rows: number, columns: number): number {
  const values = { values: x, width: columns };
  const gram = gemm({ ...values, transposed: true }, values, columns, columns, rows);
  let worst = 0;
  for (const [at, value] of gram.entries()) {
    const error = Math.abs(value - (at % (columns + 1) === 0 ? 1 : 0));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}
