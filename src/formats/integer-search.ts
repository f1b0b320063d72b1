import type { IntegerParameters } from './integer-names.ts';
import { type GroupScale, roundToNearest } from './integer-rounding.ts';
import { clamp, roundHalfEven } from './rounding.ts';
import { CLEARLY, divide, type Gains, normalize, ROUNDS } from './scale-search.ts';
import { STORED_FLOATS } from './scale-type.ts';

const f = Math.fround;

/**
 * The ratios of a group's own range to that of a trial, from `first` on: fractions of powers of two, so that every one is exact. Above 1 a
 * trial cuts extremes off, which pays with few bits.
 */
export interface TrialRatios {
  readonly count: number;
  readonly first: number;
  readonly step: number;
}

/** With the middle code as zero the largest weight may have either sign: twice as many trials as ratios. */
const MIDDLE_RATIOS: Readonly<Record<IntegerParameters['bits'], TrialRatios>> = {
  2: { count: 10, first: 52 / 64, step: 11 / 64 },
  3: { count: 10, first: 54 / 64, step: 7 / 64 },
  4: { count: 10, first: 59 / 64, step: 4 / 64 },
  8: { count: 10, first: 127 / 128, step: 1 / 128 },
};
const ZERO_RATIOS: Readonly<Record<IntegerParameters['bits'], TrialRatios>> = {
  2: { count: 18, first: 52 / 64, step: 6 / 64 },
  3: { count: 18, first: 54 / 64, step: 4 / 64 },
  4: { count: 18, first: 59 / 64, step: 2 / 64 },
  8: { count: 18, first: 127 / 128, step: 1 / 256 },
};

/** The ratios that are tried for a format. */
export const trialRatios = ({ bits, zero }: IntegerParameters): TrialRatios =>
  (zero === 'middle' ? MIDDLE_RATIOS : ZERO_RATIOS)[bits];

/** Errors that differ by less, in units of the largest weight squared, are alike: see `scale-search.ts`. */
const ALIKE = 2 ** -38;
/** Groups with weights from here on keep the scale of the rule. */
export const LARGEST = 2 ** 100;
/** Ranges below this count as none. */
const SMALLEST_RANGE = 2 ** -60;

/** Rounded to `count` significant bits: more would be noise of sums, in which devices differ. */
export function leadingBits(x: number, count: number): number {
  const unit = 2 ** (24 - count);
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  return new Float32Array(Uint32Array.of((bits + unit / 2) & -unit).buffer)[0]!;
}

/** As many as a trial's scale and zero point keep. */
const coarse = (x: number): number => leadingBits(x, 12);

/** Of zero points that are floats: farther away, codes would be small differences of large numbers. */
export const farthestZero = (bits: number): number => 2 ** (bits + 2);

/** Trial codes: round((x − low) · factor). */
interface Trial {
  readonly low: number;
  readonly factor: number;
}

/**
 * Scale and zero point of a group with the least squared error, each weight's multiplied with its gain, among those that trials give: codes
 * of a trial have a best scale and zero point by least squares, which are rounded to what is stored and judged by the codes that they give.
 * The best of all gives codes again, `ROUNDS` times. The first candidate is the one of `roundToNearest`, so none is worse. Every operation
 * rounds to f32 in the order in which shaders/quantize/int_search.wgsl computes.
 */
export function searchGroup(
  weights: Float32Array,
  parameters: IntegerParameters,
  gains: Gains | undefined,
): GroupScale {
  const { bits, zero: kind, scale: type } = parameters;
  const stored = STORED_FLOATS[type];
  const half = 2 ** (bits - 1);
  const [lowest, highest] = kind === 'middle' ? [-half, half - 1] : [0, 2 ** bits - 1];
  const rule = roundToNearest(weights, parameters);
  // Beyond, scales leave the range in which devices agree.
  if (weights.some((w) => Math.abs(w) >= LARGEST)) return rule;
  const { values, unit } = normalize(weights);
  const low = values.reduce((min, x) => Math.min(min, x), Number.POSITIVE_INFINITY);
  const high = values.reduce((max, x) => Math.max(max, x), Number.NEGATIVE_INFINITY);
  const largest = Math.max(high, -low);
  const range = kind === 'middle' ? largest : f(high - low);
  if (range < SMALLEST_RANGE) return rule;
  const inverseRange = divide(1, range);
  const center = f(0.5 * f(low + high));

  /** Sums as the kernel makes them: four lanes along the weights, each rounded to f32. */
  const sums = Array.from({ length: 5 }, () => new Float32Array(4));
  const add = (which: number, i: number, term: number): void => {
    const lanes = sums[which]!;
    const value = f(term);
    lanes[i & 3] = lanes[i & 3]! + (gains ? f(value * gains[i]!) : value);
  };
  const total = (which: number): number => {
    const [x, y, z, w] = sums[which]! as unknown as [number, number, number, number];
    return f(f(x + y) + f(z + w));
  };
  const clear = (): void => {
    for (const lanes of sums) lanes.fill(0);
  };

  /** In units; zero counts from the middle code where that is the zero. */
  const errorOf = (scale: number, zero: number): number => {
    clear();
    const inverse = scale === 0 ? 0 : divide(1, scale);
    for (let i = 0; i < values.length; i++) {
      const steps = f(values[i]! * inverse);
      const code = kind === 'float' ? roundHalfEven(f(steps + zero)) : roundHalfEven(steps) + zero;
      const difference = f(f(scale * f(clamp(code, lowest, highest) - zero)) - values[i]!);
      add(0, i, difference * difference);
    }
    return total(0);
  };

  /** The best scale and zero point for the codes of a trial. */
  const bestFor = ({ low: from, factor }: Trial): { scale: number; zero: number } => {
    clear();
    for (let i = 0; i < values.length; i++) {
      const x = values[i]!;
      const code = clamp(roundHalfEven(f(f(x - from) * factor)), lowest, highest);
      add(0, i, code * code);
      add(1, i, x * code);
      if (kind === 'middle') continue;
      add(2, i, 1);
      add(3, i, code);
      add(4, i, x);
    }
    const [sumQ2, sumXQ] = [total(0), total(1)];
    if (kind === 'middle') return { scale: sumQ2 > 0 ? divide(sumXQ, sumQ2) : 0, zero: 0 };
    const [sumG, sumQ, sumX] = [total(2), total(3), total(4)];
    const determinant = f(f(sumG * sumQ2) - f(sumQ * sumQ));
    if (!(determinant > 0)) return { scale: 0, zero: 0 };
    const scale = divide(f(f(sumG * sumXQ) - f(sumX * sumQ)), determinant);
    if (!(scale > 2 ** -126)) return { scale: 0, zero: 0 };
    const offset = divide(f(f(sumQ2 * sumX) - f(sumQ * sumXQ)), determinant);
    const exact = divide(-offset, scale);
    if (kind === 'float') {
      return Math.abs(exact) > farthestZero(bits)
        ? { scale: 0, zero: 0 }
        : { scale, zero: stored.round(coarse(exact)) };
    }
    const zero = clamp(roundHalfEven(exact), lowest, highest);
    const above = f(sumXQ - f(zero * sumX));
    const below = f(f(sumQ2 - f(f(2 * zero) * sumQ)) + f(f(zero * zero) * sumG));
    return { scale: below > 0 ? divide(above, below) : 0, zero };
  };

  const middle = kind === 'middle' ? half : 0;
  let best = { scale: f(rule.scale / unit), zero: rule.zero - middle, stored: rule.scale };
  let least = errorOf(best.scale, best.zero);
  const { count, first, step } = trialRatios(parameters);
  const trials = kind === 'middle' ? 2 * count : count;
  for (let t = 0; t < trials + ROUNDS; t++) {
    let trial: Trial;
    if (t >= trials) {
      if (best.scale === 0) break;
      const factor = divide(1, best.scale);
      trial = { low: kind === 'middle' ? 0 : f(-best.scale * best.zero), factor };
    } else if (kind === 'middle') {
      const ratio = first + step * (t >> 1);
      trial = { low: 0, factor: (t & 1 ? half : -half) * f(ratio * inverseRange) };
    } else {
      const ratio = first + step * t;
      const factor = f(f(highest * ratio) * inverseRange);
      trial = { low: f(center - divide(f(0.5 * range), ratio)), factor };
    }
    const found = bestFor(trial);
    const rounded = stored.round(coarse(f(found.scale * unit)));
    const scale = f(rounded / unit);
    if (rounded === 0 || Math.abs(scale) < 2 ** -126) continue;
    const error = errorOf(scale, found.zero);
    if (error < f(f(least * CLEARLY) - ALIKE)) {
      least = error;
      best = { scale, zero: found.zero, stored: rounded };
    }
  }
  return { scale: best.stored, zero: best.zero + middle };
}
