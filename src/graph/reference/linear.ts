import type { Numbers } from './array.ts';

/** y = W x + bias for each row of `x` (rows × k), with `weight` n × k: rows × n. */
export function linear(x: Numbers, weight: Numbers, k: number, bias?: Numbers): Float64Array {
  const rows = x.length / k;
  const n = weight.length / k;
  const out = new Float64Array(rows * n);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < n; j++) {
      let sum = bias ? bias[j]! : 0;
      for (let i = 0; i < k; i++) sum += x[row * k + i]! * weight[j * k + i]!;
      out[row * n + j] = sum;
    }
  }
  return out;
}
