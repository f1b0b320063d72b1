import { randomUniform } from '../../../../src/graph/reference/random.ts';

/** Values like those of a weight matrix: sums of three uniform ones are nearly normal. */
export const normalValues = (count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from(
    { length: count },
    (_, i) => 0.02 * (randomUniform(0, i) + randomUniform(1, i) + randomUniform(2, i) - 1.5),
  );
