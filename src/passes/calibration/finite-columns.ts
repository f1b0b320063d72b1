import { ArgumentError } from '../../errors.ts';

/**
 * @param meanSquare of the columns of an input
 * @param what they are, in the plural
 * @throws ArgumentError where one is not finite
 */
export function checkFiniteColumns(meanSquare: Float32Array, what: string): void {
  const bad = meanSquare.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  throw new ArgumentError(
    `${what} are not finite in column ${bad}: the model computes no numbers on the calibration text.`,
  );
}
