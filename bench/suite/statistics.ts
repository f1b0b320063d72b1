import { bootstrap, bootstrapInterval, MIN_INTERVAL_VALUES, median } from '../../src/verify/statistics.ts';

/** A ratio of times and its 95% bootstrap interval; null where there are too few values. */
export interface Ratio {
  readonly ratio: number;
  readonly interval: [number, number] | null;
}

/**
 * The median of a / b over values that were measured in pairs, and its 95% interval: each pair's ratio is an observation. Where a machine's speed changes by a quarter from
 * one pair to the next, this interval is a third as wide as that of median(a) / median(b), whose medians come from different pairs.
 */
export function pairedRatio(a: readonly number[], b: readonly number[]): Ratio {
  const ratios = a.map((value, i) => value / b[i]!);
  return {
    ratio: median(ratios),
    interval: ratios.length < MIN_INTERVAL_VALUES ? null : bootstrapInterval(ratios),
  };
}

/** median(a) / median(b) of values that have nothing to do with each other: each side is drawn by itself. */
export function unpairedRatio(a: readonly number[], b: readonly number[]): Ratio {
  const [n, m] = [a.length, b.length];
  const drawnFrom = (values: readonly number[], drawn: readonly number[]) =>
    median(drawn.map((i) => values[i % values.length]!));
  const of = (drawn: readonly number[]) => drawnFrom(a, drawn.slice(0, n)) / drawnFrom(b, drawn.slice(n, n + m));
  return {
    ratio: median(a) / median(b),
    // Numbers below a common multiple, so that their remainders are even.
    interval: Math.min(n, m) < MIN_INTERVAL_VALUES ? null : bootstrap(n * m, of),
  };
}

/** Products of sizes up to this get the exact distribution. */
const MOST_EXACT = 900;

/**
 * Two-sided p of the Mann-Whitney U test (Mann & Whitney, 1947): whether one of two samples tends to be larger. The exact distribution where no values are
 * equal and the samples are small; else the normal approximation with correction for ties and continuity.
 */
export function mannWhitney(a: readonly number[], b: readonly number[]): number {
  const [n, m] = [a.length, b.length];
  if (n === 0 || m === 0) return 1;
  let u = 0;
  for (const x of a) for (const y of b) u += x > y ? 1 : x === y ? 0.5 : 0;
  const all = [...a, ...b];
  const counts = new Map<number, number>();
  for (const x of all) counts.set(x, (counts.get(x) ?? 0) + 1);
  const least = Math.min(u, n * m - u);
  if (counts.size === all.length && n * m <= MOST_EXACT) {
    const ways = waysOf(n, m);
    const total = ways.reduce((sum, w) => sum + w, 0);
    return Math.min(1, (2 * ways.slice(0, least + 1).reduce((sum, w) => sum + w, 0)) / total);
  }
  const size = n + m;
  const ties = [...counts.values()].reduce((sum, t) => sum + (t ** 3 - t), 0);
  const variance = ((n * m) / 12) * (size + 1 - ties / (size * (size - 1)));
  if (variance === 0) return 1;
  const z = Math.max(0, (n * m) / 2 - least - 0.5) / Math.sqrt(variance);
  return Math.min(1, erfc(z / Math.SQRT2));
}

/** In how many orders of n and m values U takes each of its values: the coefficients of the Gaussian binomial. */
function waysOf(n: number, m: number): number[] {
  const ways = new Array<number>(n * m + 1).fill(0);
  ways[0] = 1;
  for (let i = 1; i <= n; i++) {
    for (let u = ways.length - 1; u >= m + i; u--) ways[u]! -= ways[u - m - i]!;
    for (let u = i; u < ways.length; u++) ways[u]! += ways[u - i]!;
  }
  return ways;
}

/** The complementary error function, to 1.2e-7 of itself: Numerical Recipes, 2nd edition, section 6.2. */
function erfc(x: number): number {
  const t = 1 / (1 + 0.5 * x);
  const terms = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ];
  return t * Math.exp(-x * x + terms.reduceRight((sum, term) => sum * t + term, 0));
}

/**
 * p values adjusted so that, of those below a limit, at most that share is expected to be false (Benjamini & Hochberg, 1995).
 */
export function benjaminiHochberg(p: readonly number[]): number[] {
  const order = [...p.keys()].sort((i, j) => p[j]! - p[i]!);
  const adjusted = new Array<number>(p.length);
  let least = 1;
  for (const [at, i] of order.entries()) {
    least = Math.min(least, (p[i]! * p.length) / (p.length - at));
    adjusted[i] = least;
  }
  return adjusted;
}
