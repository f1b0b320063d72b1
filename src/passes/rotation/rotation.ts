import { randomU32 } from '../../graph/reference/random.ts';

/** A rotation of a model's residual stream. Source: Ashkboos et al., "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024. */
export interface Rotation {
  /** Of the signs of columns: a whole number below 2³². */
  seed: number;
  /** Also put the inner activations of FFNs through a Hadamard transform, which the model then computes for each token. Default: false. */
  inner?: boolean | undefined;
}

/** The largest power of two that divides `width`. */
export const largestBlock = (width: number): number => {
  let block = 1;
  while (width % (2 * block) === 0) block *= 2;
  return block;
};

/** A sign for each column, 1 or −1: the uppermost bit of the column's random number. */
export const columnSigns = (seed: number, width: number): Float64Array =>
  Float64Array.from({ length: width }, (_, column) => (randomU32(seed, column) >>> 31 === 0 ? 1 : -1));
