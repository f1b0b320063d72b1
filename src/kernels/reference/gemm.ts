/** A matrix in rows that may lie apart, or its transpose. */
export interface StoredMatrix {
  readonly values: ArrayLike<number>;
  /** Elements from a stored row to the next. */
  readonly width: number;
  readonly start?: number;
  readonly transposed?: boolean;
}

/** op(A) op(B) [rows, columns], in f64. */
export function gemm(a: StoredMatrix, b: StoredMatrix, rows: number, columns: number, inner: number): Float64Array {
  const at = ({ values, width, start = 0, transposed = false }: StoredMatrix, i: number, j: number) =>
    values[start + (transposed ? j * width + i : i * width + j)]!;
  const c = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += at(a, i, k) * at(b, k, j);
      c[i * columns + j] = sum;
    }
  }
  return c;
}
