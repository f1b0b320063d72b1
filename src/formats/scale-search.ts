import { clamp, roundHalfEven } from './rounding.ts';

/**
 * Searches for the scale, and the minimum, of a few weights with the least squared error, each weight's multiplied with its gain where there
 * are gains: trial scales give codes, codes give the best scale by least squares. A thorough search, as with gains, compares trials by their
 * errors, and from the best of all come codes again, twice: where few weights count, the best scale is not near what the range of all suggests.
 * Every operation rounds to f32 in the order in which the kernels compute (shaders/quantize/search_*.wgsl), so that both choose alike. Weights
 * are scaled to at most 4 in magnitude, so that nothing overflows.
 */

const f = Math.fround;

/** A trial has to be better by this factor: less is rounding, in which devices that fuse multiplication and addition differ. */
export const CLEARLY = f(1 - 2 ** -14);

/** The same for what a trial explains: with six bits the error is about 2^-13 of it, so that 2^-14 would be half of the error. Sums round by less. */
const CLEARLY_MORE = f(1 - 2 ** -20);

/** Scaled so that the largest magnitude lies in [1, 4): searches then meet neither overflow nor subnormal numbers. */
export function normalize(weights: Float32Array): { values: Float32Array; unit: number } {
  const largest = weights.reduce((m, w) => Math.max(m, Math.abs(w)), 0);
  const exponent = (new Uint32Array(Float32Array.of(largest).buffer)[0]! >>> 23) - 127;
  const unit = largest < 2 ** -100 ? 1 : 2 ** Math.min(exponent, 126);
  return { values: weights.map((w) => (largest < 2 ** -100 ? 0 : w / unit)), unit };
}

/** Weights of squared errors, the largest in [1, 4). */
export type Gains = Float32Array;

/** Gains of weights with these importances; undefined where none counts. */
export function gainsOf(importance: Float32Array | undefined): Gains | undefined {
  const largest = importance?.reduce((m, x) => Math.max(m, x), 0) ?? 0;
  if (largest < 2 ** -126) return undefined;
  const unit = 2 ** Math.min((new Uint32Array(Float32Array.of(largest).buffer)[0]! >>> 23) - 127, 126);
  return importance!.map((x) => x / unit);
}

/** The sum that a kernel makes: four lanes along the weights, then (x + y) + (z + w). */
function sum(count: number, term: (i: number) => number, gains?: Gains): number {
  const lanes = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) {
    const value = f(term(i));
    lanes[i & 3] = f(lanes[i & 3]! + (gains ? f(value * gains[i]!) : value));
  }
  return f(f(lanes[0]! + lanes[1]!) + f(lanes[2]! + lanes[3]!));
}

/** Rounds of codes from the best scale so far. */
export const ROUNDS = 2;

/**
 * Errors of thorough searches that differ by less than this, in units of the largest weight squared, are alike: where few weights count,
 * many scales fit them but for rounding, and the first of them is to be taken on every device.
 */
const ALIKE = 2 ** -38;

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

/** How to search. */
export interface SearchOptions {
  readonly gains?: Gains | undefined;
  /** Trials are compared by their errors, and rounds of codes from the best scale so far follow. Default: with gains. */
  readonly thorough?: boolean;
}

export interface AffineOptions extends SearchOptions {
  /** The minimum may lie above zero, and the largest weight below it. */
  readonly anyMinimum?: boolean;
}

/** Scale and minimum for codes 0 … levels. */
export function searchAffine(weights: Float32Array, levels: number, options: AffineOptions = {}): Affine {
  const { gains, anyMinimum = false, thorough = gains !== undefined } = options;
  const n = weights.length;
  const low = weights.reduce((min, w) => Math.min(min, w), anyMinimum ? Number.POSITIVE_INFINITY : 0);
  const high = weights.reduce((max, w) => Math.max(max, w), low);
  const range = f(high - low);
  if (range < 2 ** -100) return { scale: 0, minimum: anyMinimum ? -low : 0 };
  const inverse = divide(1, range);
  const total = sum(n, (i) => weights[i]!, gains);
  const count = gains ? sum(n, () => 1, gains) : n;
  const mean = divide(total, count);
  const alike = thorough ? f(ALIKE * f(Math.max(-low, high) ** 2)) : 0;
  let found: Affine = { scale: divide(range, levels), minimum: -low };
  let least = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < AFFINE_TRIALS + (thorough ? ROUNDS : 0); trial++) {
    const again = trial >= AFFINE_TRIALS;
    const from = again ? -found.minimum : low;
    const factor = again ? inverseOf(found.scale) : f(f(f(levels - 1) + f(AFFINE_STEP * trial)) * inverse);
    const codes = Float32Array.from(weights, (w) => clamp(roundHalfEven(f(f(w - from) * factor)), 0, levels));
    const sumL = sum(n, (i) => codes[i]!, gains);
    const sumL2 = sum(n, (i) => codes[i]! * codes[i]!, gains);
    const sumXL = sum(n, (i) => weights[i]! * codes[i]!, gains);
    let scale: number;
    let offset: number;
    if (gains) {
      // Around the means: with gains, the sums are no whole numbers whose differences are exact.
      const meanL = divide(sumL, count);
      const spread = sum(n, (i) => f(codes[i]! - meanL) ** 2, gains);
      const common = sum(n, (i) => f(codes[i]! - meanL) * f(weights[i]! - mean), gains);
      if (spread < SMALLEST_SPREAD) continue;
      scale = divide(common, spread);
      offset = f(mean - f(scale * meanL));
    } else {
      const determinant = f(f(n * sumL2) - f(sumL * sumL));
      if (!(determinant > 0)) continue;
      scale = divide(f(f(n * sumXL) - f(total * sumL)), determinant);
      offset = divide(f(f(sumL2 * total) - f(sumL * sumXL)), determinant);
    }
    if (offset > 0 && !anyMinimum) {
      offset = 0;
      scale = divide(sumXL, sumL2);
    }
    const error = squaredError(weights, (i) => f(f(scale * codes[i]!) + offset), gains);
    if (error < f(f(least * CLEARLY) - alike)) {
      least = error;
      found = { scale, minimum: offset === 0 ? 0 : -offset };
    }
  }
  return found;
}

/** Codes of weights that count are all alike where they differ by less than this. */
const SMALLEST_SPREAD = 2 ** -20;

/** How a kernel inverts a scale: 0 for what would be infinite or subnormal. */
export const inverseOf = (scale: number): number => (Math.abs(scale) < 2 ** -126 ? 0 : divide(1, scale));

/** The multiple of a unit that a code stands for, nearest to a real number. */
export type Nearest = (x: number) => number;

/**
 * The scale for codes of either sign: w ≈ scale · value. `ends` are the values that the largest weight takes in turn, moved by `trial`
 * steps of `step` either way. Of all, the one that explains most: Σxq² / Σq²; or, `thorough`, leaves the least error.
 */
export function searchSigned(
  weights: Float32Array,
  nearest: Nearest,
  ends: readonly number[],
  trials: number,
  step: number,
  { gains, thorough = gains !== undefined }: SearchOptions = {},
): number {
  const largest = weights.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0);
  if (Math.abs(largest) < 2 ** -100) return 0;
  const inverse = divide(1, largest);
  const alike = f(ALIKE * f(largest ** 2));
  let best = { sumXQ: 0, sumQ2: 1 };
  let least = Number.POSITIVE_INFINITY;
  let scale = 0;
  const attempt = (factor: number): void => {
    const values = Float32Array.from(weights, (w) => nearest(f(w * factor)));
    const sumXQ = sum(weights.length, (i) => weights[i]! * values[i]!, gains);
    const sumQ2 = sum(weights.length, (i) => values[i]! * values[i]!, gains);
    if (thorough) {
      const candidate = divide(sumXQ, sumQ2);
      const error = squaredError(weights, (i) => f(candidate * values[i]!), gains);
      if (error >= f(f(least * CLEARLY) - alike)) return;
      least = error;
      scale = candidate;
      return;
    }
    // Of two quotients Σ²xq / Σq² the larger, without a division.
    const more = f(f(f(sumXQ * sumXQ) * best.sumQ2) * CLEARLY_MORE);
    if (more > f(f(best.sumXQ * best.sumXQ) * sumQ2)) best = { sumXQ, sumQ2 };
  };
  for (const end of ends) {
    for (let trial = -trials; trial <= trials; trial++) attempt(f(f(end + f(step * trial)) * inverse));
  }
  for (let round = 0; thorough && round < ROUNDS; round++) attempt(inverseOf(scale));
  return thorough ? scale : divide(best.sumXQ, best.sumQ2);
}

/** Squared error of weights against their decoded values, summed as kernels do. */
export const squaredError = (weights: Float32Array, decoded: (i: number) => number, gains?: Gains): number =>
  sum(
    weights.length,
    (i) => {
      const difference = f(decoded(i) - weights[i]!);
      return difference * difference;
    },
    gains,
  );
