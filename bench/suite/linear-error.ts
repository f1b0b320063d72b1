import { ArgumentError } from '../../src/errors.ts';
import { quantizeRow } from '../../src/formats/w8a8.ts';
import { randomUniform } from '../../src/graph/reference/random.ts';

/** Outputs that are held to the reference: all tokens of some rows would take long on the host. */
const SAMPLED = 96;

/** The largest error of an output, over Σ|w x|: what roundings of a sum in f32 are bounded by, in any order. */
export function outputError(
  rows: Float32Array,
  x: Float32Array,
  { n, k, batch }: { n: number; k: number; batch: number },
): (output: Float32Array) => number {
  const blockRows = rows.length / k;
  return (output) => {
    if (output.length !== batch * n) throw new ArgumentError(`It made ${output.length} values, not ${batch} x ${n}.`);
    // What was not written is NaN still.
    if (output.some(Number.isNaN)) return Number.POSITIVE_INFINITY;
    let worst = 0;
    for (let i = 0; i < SAMPLED; i++) {
      // Corners, and places all over.
      const row = i === 0 ? 0 : i === 1 ? n - 1 : Math.floor(randomUniform(1, i) * n);
      const token = i === 0 ? 0 : i === 1 ? batch - 1 : Math.floor(randomUniform(2, i) * batch);
      const [w, v] = [(row % blockRows) * k, token * k];
      let [sum, magnitude] = [0, 0];
      for (let j = 0; j < k; j++) {
        const term = rows[w + j]! * x[v + j]!;
        sum += term;
        magnitude += Math.abs(term);
      }
      const error = Math.abs(output[token * n + row]! - sum) / magnitude;
      // NaN is the worst of all.
      if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
    }
    return worst;
  };
}

/** x as what multiplies integers sees it: each run of k with a scale of its own. */
export function roundedRows(x: Float32Array, k: number): Float32Array {
  const codes = new Int8Array(k);
  const result = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += k) {
    const scale = quantizeRow(x.subarray(at, at + k), codes);
    for (let i = 0; i < k; i++) result[at + i] = scale * codes[i]!;
  }
  return result;
}
