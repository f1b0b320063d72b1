import type { Numbers } from './array.ts';
import { softCap } from './soft-cap.ts';
import { softmax } from './softmax.ts';

export interface AttentionShape {
  readonly heads: number;
  /** Divides `heads`: query head h reads key and value head ⌊h · kvHeads / heads⌋. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** Factor on q·k. */
  readonly scale: number;
  /** Positions that a token sees, its own included; default: all up to its own. */
  readonly window?: number;
  /** Scores s become softCap · tanh(s / softCap). */
  readonly softCap?: number;
}

/**
 * Causal attention with grouped queries. `q` is rows × heads·headDim; `keys` and `values` are
 * positions × kvHeads·headDim, where the last `rows` positions are those of `q` and the ones before are the past.
 * Row r sees the past and rows 0 … r, of those the last `window`. Result: rows × heads·headDim.
 * Source: Vaswani et al., 2017; Ainslie et al., "GQA", 2023; Beltagy et al., "Longformer", 2020, for the window.
 */
export function attention(q: Numbers, keys: Numbers, values: Numbers, shape: AttentionShape): Float64Array {
  const { heads, kvHeads, headDim, scale, window = Number.POSITIVE_INFINITY } = shape;
  const width = heads * headDim;
  const kvWidth = kvHeads * headDim;
  const rows = q.length / width;
  const past = keys.length / kvWidth - rows;
  const out = new Float64Array(q.length);
  for (let row = 0; row < rows; row++) {
    const end = past + row + 1;
    const first = Math.max(0, end - window);
    for (let head = 0; head < heads; head++) {
      const qStart = row * width + head * headDim;
      const kvStart = Math.floor((head * kvHeads) / heads) * headDim;
      const scores = new Float64Array(end - first);
      for (let position = first; position < end; position++) {
        let dot = 0;
        for (let i = 0; i < headDim; i++) dot += q[qStart + i]! * keys[position * kvWidth + kvStart + i]!;
        scores[position - first] = dot * scale;
      }
      const weights = softmax(shape.softCap === undefined ? scores : softCap(scores, shape.softCap));
      for (let i = 0; i < headDim; i++) {
        let sum = 0;
        for (let position = first; position < end; position++) {
          sum += weights[position - first]! * values[position * kvWidth + kvStart + i]!;
        }
        out[qStart + i] = sum;
      }
    }
  }
  return out;
}
