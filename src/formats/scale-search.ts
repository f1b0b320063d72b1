import { clamp, roundHalfEven } from './rounding.ts';

/**
 * Searches for the scale, and the minimum, of a few weights with the least squared error: trial scales give codes, codes give the best
 * scale by least squares. Every operation rounds to f32 in the order in which the kernels compute (shaders/quantize/search_*.wgsl), so
 * that both choose alike. Weights are scaled to at most 4 in magnitude, so that nothing overflows.
 */

const f = Math.fround;

/** A trial has to be better by this factor: less is rounding, in which devices that fuse multiplication and addition differ. */
export const CLEARLY = f(1 - 2 ** -14);

/** Scaled so that the largest magnitude lies in [1, 4): searches then meet neither overflow nor subnormal numbers. */
export function normalize(weights: Float32Array): { values: Float32Array; unit: number } {
  const largest = weights.reduce((m, w) => Math.max(m, Math.abs(w)), 0);
  const exponent = (new Uint32Array(Float32Array.of(largest).buffer)[0]! >>> 23) - 127;
  const unit = largest < 2 ** -100 ? 1 : 2 ** Math.min(exponent, 126);
  return { values: weights.map((w) => (largest < 2 ** -100 ? 0 : w / unit)), unit };
}

/** The sum that a kernel makes: four lanes along the weights, then (x + y) + (z + w). */
function sum(count: number, term: (i: number) => number): number {
  const lanes = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) lanes[i & 3] = f(lanes[i & 3]! + f(term(i)));
  return f(f(lanes[0]! + lanes[1]!) + f(lanes[2]! + lanes[3]!));
}

/** How a kernel divides: correctly rounded, 0 where numerator or quotient is subnormal. */
export function divide(a: number, b: number): number {
  if (Math.abs(a) < 2 ** -126) return 0;
  const quotient = f(a / b);
  return Math.abs(quotient) < 2 ** -126 ? 0 : quotient;
}

/** w ≈ scale · code − minimum. */
export interface Affine {
  readonly scale: number;
  /** At least 0. */
  readonly minimum: number;
}

/** Trial scales of the affine search, and the codes by which their ranges are shorter or longer than the weights': from −FIRST on. */
export const AFFINE_TRIALS = 21;
const AFFINE_STEP = f(0.1);

/** Scale and minimum for codes 0 … levels. */
export function searchAffine(weights: Float32Array, levels: number): Affine {
  const n = weights.length;
  const low = weights.reduce((min, w) => Math.min(min, w), 0);
  const high = weights.reduce((max, w) => Math.max(max, w), low);
  const range = f(high - low);
  if (range < 2 ** -100) return { scale: 0, minimum: 0 };
  const inverse = divide(1, range);
  const total = sum(n, (i) => weights[i]!);
  let found: Affine = { scale: divide(range, levels), minimum: -low };
  let least = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < AFFINE_TRIALS; trial++) {
    const steps = f(f(levels - 1) + f(AFFINE_STEP * trial));
    const factor = f(steps * inverse);
    const codes = Float32Array.from(weights, (w) => clamp(roundHalfEven(f(f(w - low) * factor)), 0, levels));
    const sumL = sum(n, (i) => codes[i]!);
    const sumL2 = sum(n, (i) => codes[i]! * codes[i]!);
    const sumXL = sum(n, (i) => weights[i]! * codes[i]!);
    const determinant = f(f(n * sumL2) - f(sumL * sumL));
    if (!(determinant > 0)) continue;
    let scale = divide(f(f(n * sumXL) - f(total * sumL)), determinant);
    let offset = divide(f(f(sumL2 * total) - f(sumL * sumXL)), determinant);
    if (offset > 0) {
      offset = 0;
      scale = divide(sumXL, sumL2);
    }
    const error = sum(n, (i) => {
      const difference = f(f(f(scale * codes[i]!) + offset) - weights[i]!);
      return difference * difference;
    });
    if (error < f(least * CLEARLY)) {
      least = error;
      found = { scale, minimum: offset === 0 ? 0 : -offset };
    }
  }
  return found;
}

/** The multiple of a unit that a code stands for, nearest to a real number. */
export type Nearest = (x: number) => number;

/**
 * The scale for codes of either sign: w ≈ scale · value. `ends` are the values that the largest weight takes in turn, moved by `trial`
 * steps of `step` either way. Of all, the one that explains most: Σxq² / Σq².
 */
export function searchSigned(
  weights: Float32Array,
  nearest: Nearest,
  ends: readonly number[],
  trials: number,
  step: number,
): number {
  const largest = weights.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0);
  if (Math.abs(largest) < 2 ** -100) return 0;
  const inverse = divide(1, largest);
  let best = 0;
  let scale = 0;
  for (const end of ends) {
    for (let trial = -trials; trial <= trials; trial++) {
      const factor = f(f(end + f(step * trial)) * inverse);
      const values = Float32Array.from(weights, (w) => nearest(f(w * factor)));
      const sumXQ = sum(weights.length, (i) => weights[i]! * values[i]!);
      const sumQ2 = sum(weights.length, (i) => values[i]! * values[i]!);
      const candidate = divide(sumXQ, sumQ2);
      const explained = f(candidate * sumXQ);
      if (f(explained * CLEARLY) > best) {
        best = explained;
        scale = candidate;
      }
    }
  }
  return scale;
}

/** Squared error of weights against their decoded values, summed as kernels do. */
export const squaredError = (weights: Float32Array, decoded: (i: number) => number): number =>
  sum(weights.length, (i) => {
    const difference = f(decoded(i) - weights[i]!);
    return difference * difference;
  });
