import type { IntegerParameters } from './integer-names.ts';
import { clamp, roundHalfEven } from './rounding.ts';
import { divide } from './scale-search.ts';
import { STORED_FLOATS } from './scale-type.ts';

/** What turns the codes of a group into weights: scale · (code − zero), both as they are stored. */
export interface GroupScale {
  readonly scale: number;
  readonly zero: number;
}

/** w / scale in f32; 0 where the scale is. */
const quotient = (w: number, scale: number): number => (scale === 0 ? 0 : Math.fround(w / scale));

/**
 * The code of a weight: round(w / scale) + zero, halves to even, within the codes there are. A zero point that is no integer is added
 * before rounding. Every operation rounds to f32.
 */
export function integerCode(w: number, { scale, zero }: GroupScale, { bits, zero: kind }: IntegerParameters): number {
  const steps = quotient(w, scale);
  const code = kind === 'float' ? roundHalfEven(Math.fround(steps + zero)) : roundHalfEven(steps) + zero;
  return clamp(code, 0, 2 ** bits - 1);
}

/**
 * The scale and zero point of one group that reach its extremes. Middle zero: scale = −m / 2^(bits−1), m being the first weight of largest
 * magnitude with its sign (so that m itself has a code: the rule of ONNX's MatMulNBits), zero = 2^(bits−1). Others: with low = min(w, 0) and
 * high = max(w, 0), scale = (high − low) / (2^bits − 1) and zero = −low / scale, rounded where it is an integer.
 *
 * The scale is computed in f32, saturated (weights that no code reaches are clipped, none becomes infinite) and rounded to its type; the
 * zero point uses it as rounded. A scale that rounds to zero makes every code the zero point, 0 unless that is the middle.
 */
export function roundToNearest(values: Float32Array, { bits, zero: kind, scale: type }: IntegerParameters): GroupScale {
  const stored = STORED_FLOATS[type];
  const half = 2 ** (bits - 1);
  const levels = 2 ** bits - 1;
  if (kind === 'middle') {
    const extreme = values.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0);
    return { scale: stored.round(Math.fround(-extreme / half)), zero: half };
  }
  const low = values.reduce((min, w) => Math.min(min, w), 0);
  const high = values.reduce((max, w) => Math.max(max, w), 0);
  const scale = stored.round(Math.fround(Math.fround(high - low) / levels));
  const zero = scale === 0 ? 0 : clamp(divide(-low, scale), 0, levels);
  return { scale, zero: kind === 'float' ? stored.round(zero) : roundHalfEven(zero) };
}
