import { ArgumentError } from '../../errors.ts';
import type { Numbers } from './array.ts';

/** Row `token` of `weight` (vocabulary × width) times `scale` for each token: tokens × width. */
export function embedding(tokens: readonly number[], weight: Numbers, width: number, scale = 1): Float64Array {
  const vocabulary = weight.length / width;
  const out = new Float64Array(tokens.length * width);
  for (const [row, token] of tokens.entries()) {
    if (!Number.isInteger(token) || token < 0 || token >= vocabulary) {
      throw new ArgumentError(`Token ${token} at index ${row} is outside the vocabulary of ${vocabulary}.`);
    }
    for (let i = 0; i < width; i++) out[row * width + i] = weight[token * width + i]! * scale;
  }
  return out;
}
