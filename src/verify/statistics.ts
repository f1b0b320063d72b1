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
 * 95% percentile bootstrap interval of the median (Efron & Tibshirani, An Introduction to the Bootstrap, chapter 13).
 * The same values give the same interval.
 */
export function bootstrapInterval(values: readonly number[]): [number, number] {
  const n = values.length;
  const medians = Array.from({ length: RESAMPLES }, (_, i) =>
    median(Array.from({ length: n }, (_, j) => values[Math.floor(randomUniform(i, j) * n)]!)),
  );
  return [quantile(medians, 0.025), quantile(medians, 0.975)];
}
