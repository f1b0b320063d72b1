// U diag(S) Vᵀ as two factors of the same size: each takes the root of the singular values, so that neither over- nor underflows in half precision before the other.

/** U diag(√S), [rows, rank]. @param vectors [rows, rank] */
export function leftFactor(vectors: Float32Array, values: Float32Array): Float32Array<ArrayBuffer> {
  const roots = values.map(Math.sqrt);
  return Float32Array.from(vectors, (value, i) => value * roots[i % roots.length]!);
}

/** diag(√S) Vᵀ, [rank, columns]. @param vectors [columns, rank] */
export function rightFactor(vectors: Float32Array, values: Float32Array): Float32Array<ArrayBuffer> {
  const rank = values.length;
  const columns = vectors.length / rank;
  const factor = new Float32Array(vectors.length);
  for (let k = 0; k < rank; k++) {
    const root = Math.sqrt(values[k]!);
    for (let column = 0; column < columns; column++) factor[k * columns + column] = root * vectors[column * rank + k]!;
  }
  return factor;
}
