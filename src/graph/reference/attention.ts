import type { Numbers } from './array.ts';
import { softmax } from './softmax.ts';

export interface AttentionShape {
  readonly heads: number;
  /** Divides `heads`: query head h reads key and value head ⌊h · kvHeads / heads⌋. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** Factor on q·k. */
  readonly scale: number;
}

/**
 * Causal attention with grouped queries. `q` is rows × heads·headDim; `keys` and `values` are
 * positions × kvHeads·headDim, where the last `rows` positions are those of `q` and the ones before are the past.
 * Row r sees the past and rows 0 … r. Result: rows × heads·headDim.
 * Source: Vaswani et al., 2017; Ainslie et al., "GQA", 2023.
 */
export function attention(q: Numbers, keys: Numbers, values: Numbers, shape: AttentionShape): Float64Array {
  const { heads, kvHeads, headDim, scale } = shape;
  const width = heads * headDim;
  const kvWidth = kvHeads * headDim;
  const rows = q.length / width;
  const past = keys.length / kvWidth - rows;
  const out = new Float64Array(q.length);
  for (let row = 0; row < rows; row++) {
    const visible = past + row + 1;
    for (let head = 0; head < heads; head++) {
      const qStart = row * width + head * headDim;
      const kvStart = Math.floor((head * kvHeads) / heads) * headDim;
      const scores = new Float64Array(visible);
      for (let position = 0; position < visible; position++) {
        let dot = 0;
        for (let i = 0; i < headDim; i++) dot += q[qStart + i]! * keys[position * kvWidth + kvStart + i]!;
        scores[position] = dot * scale;
      }
      const weights = softmax(scores);
      for (let i = 0; i < headDim; i++) {
        let sum = 0;
        for (let position = 0; position < visible; position++) {
          sum += weights[position]! * values[position * kvWidth + kvStart + i]!;
        }
        out[qStart + i] = sum;
      }
    }
  }
  return out;
}
