import { randomUniform } from '../graph/reference/random.ts';

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** The q-quantile by linear interpolation. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low]! + (sorted[Math.ceil(at)]! - sorted[low]!) * (at - low);
}

/**
 * exp of a mean loss in nats. Beyond what JSON can hold it stays at the largest power that logarithms and ratios survive: such a model
 * is as bad as can be either way.
 */
export const perplexityOf = (loss: number): number => Math.exp(Math.min(loss, MAX_LOSS));

/** e^690 is 1e299. */
const MAX_LOSS = 690;

/** The middle value, or the mean of the two in the middle. */
export const median = (values: readonly number[]): number => quantile(values, 0.5);

const RESAMPLES = 2000;

/** Of six values, smallest and largest hold the median in 97 of 100 cases; of five in 94, so that no 95% interval exists. */
export const MIN_INTERVAL_VALUES = 6;

/**
 * 95% percentile bootstrap interval of what `statistic` makes of `n` observations (Efron & Tibshirani, An Introduction to the Bootstrap,
 * chapter 13); it gets the numbers of those that were drawn, so that several series are drawn together. The same statistic gives the same interval.
 */
export function bootstrap(n: number, statistic: (drawn: readonly number[]) => number): [number, number] {
  const found = Array.from({ length: RESAMPLES }, (_, i) =>
    statistic(Array.from({ length: n }, (_, j) => Math.floor(randomUniform(i, j) * n))),
  );
  return [quantile(found, 0.025), quantile(found, 0.975)];
}

/** 95% bootstrap interval of the median. */
export const bootstrapInterval = (values: readonly number[]): [number, number] =>
  bootstrap(values.length, (drawn) => median(drawn.map((i) => values[i]!)));
