import { quantizeRow } from '../../formats/w8a8.ts';
import type { Numbers } from './array.ts';

/** Sums of products of codes, exact: x is rows × k, weight n × k; the result rows × n. */
export function integerSums(x: Int8Array, weight: Int8Array, k: number): Int32Array {
  const rows = x.length / k;
  const n = weight.length / k;
  const out = new Int32Array(rows * n);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += x[row * k + i]! * weight[j * k + i]!;
      out[row * n + j] = sum;
    }
  }
  return out;
}

/** How a product quantizes its activations. */
export interface ActivationRange {
  /** The scale of every token; undefined: each token's largest magnitude / 127. */
  readonly scale?: number;
}

/** Part of a step, either side of a tie: what rounding through tens of layers may move an f32 value by, a few times over. */
const TIE = 2 ** -6;

/**
 * The values that int8 codes of activations stand for: scale · round(x / scale), for each row of k. Rounding is discontinuous: `seen` are the
 * same activations as another run of the graph computed them in f32. Where x lies so near to a tie that rounding may tip it, the code is the one of
 * `seen`; so both runs go on with the same codes, and what still differs is wrong.
 */
export function quantizedActivations(x: Numbers, k: number, range: ActivationRange = {}, seen?: Numbers): Float64Array {
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += k) {
    const row = Float64Array.from(x.subarray(start, start + k));
    const codes = new Int8Array(k);
    // In f32 as the kernels: f64 would only move what is near a tie.
    const scale = quantizeRow(Float32Array.from(row), codes, range.scale);
    const others = new Int8Array(k);
    if (seen) quantizeRow(Float32Array.from(seen.subarray(start, start + k)), others, range.scale);
    for (let i = 0; i < k; i++) {
      const exact = scale === 0 ? 0 : row[i]! / scale;
      const [code, other] = [codes[i]!, seen ? others[i]! : codes[i]!];
      const tied = Math.abs(code - other) === 1 && Math.abs(exact - (code + other) / 2) < TIE;
      out[start + i] = scale * (tied ? other : code);
    }
  }
  return out;
}
