import { f16BitsToF32, f32ToF16Bits } from './float16.ts';
import { readU16, writeU16 } from './layout.ts';

/**
 * Where a block's unrounded step d is smaller than this, all its codes are zero. Its f16 scale is zero anyway (below
 * 2^-25); ggml goes on, with codes that mean nothing, until 1/d overflows. Stopping here keeps every intermediate
 * value a normal f32, so that devices which flush subnormals agree.
 */
export const SMALLEST_STEP = 2 ** -124;

/**
 * The same for types with a minimum, which is subtracted: from this step on, a subnormal minimum or weight is less than
 * half a unit in the last place of every difference that could round to another code.
 */
export const SMALLEST_STEP_ABOVE_MINIMUM = 2 ** -100;

/** f32 values from here on round to infinity in f16. */
const F16_OVERFLOW = 65520;

const F16_MAX = 65504;

/**
 * The step and the minimum that codes are computed with: ggml's, but saturated where their f16 would be infinite. Then
 * weights that no code reaches are clipped, and nothing decodes to infinity.
 */
export const saturateStep = (x: number): number => (Math.abs(x) < F16_OVERFLOW ? x : Math.sign(x) * F16_MAX);

/** The step that stands in a block, as f16. */
export const readStep = (bytes: Uint8Array, i: number): number => f16BitsToF32(readU16(bytes, i));

/** Stores a step there, saturated, and returns the value that it has as f16. */
export function writeStep(bytes: Uint8Array, i: number, step: number): number {
  const bits = f32ToF16Bits(saturateStep(step));
  writeU16(bytes, i, bits);
  return f16BitsToF32(bits);
}
