import { ArgumentError } from '../errors.ts';

/** What the values of a tensor look like. NaN and infinities are counted and otherwise left out. */
export interface ValueStatistics {
  readonly count: number;
  readonly nonFinite: number;
  /** 0, as the rest, where no value is finite. */
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** Standard deviation of the population. */
  readonly std: number;
  /** Counts of equal bins from min to max. */
  readonly histogram: readonly number[];
}

/**
 * Statistics of values that come in chunks, which are asked for twice: bins need the range first.
 * @param bins between 1 and 4096
 */
export async function valueStatistics(
  chunks: () => AsyncIterable<Float32Array>,
  bins: number,
): Promise<ValueStatistics> {
  if (!Number.isInteger(bins) || bins < 1 || bins > 4096) throw new ArgumentError(`${bins} bins are not 1 to 4096.`);
  let count = 0;
  let finite = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let mean = 0;
  // Welford (1962): sums of squares would cancel.
  let squares = 0;
  for await (const values of chunks()) {
    count += values.length;
    for (const x of values) {
      if (!Number.isFinite(x)) continue;
      finite++;
      if (x < min) min = x;
      if (x > max) max = x;
      const delta = x - mean;
      mean += delta / finite;
      squares += delta * (x - mean);
    }
  }
  const histogram = new Array<number>(bins).fill(0);
  if (finite === 0) return { count, nonFinite: count, min: 0, max: 0, mean: 0, std: 0, histogram };
  const scale = max > min ? bins / (max - min) : 0;
  for await (const values of chunks()) {
    for (const x of values) {
      if (Number.isFinite(x)) histogram[Math.min(bins - 1, Math.floor((x - min) * scale))]!++;
    }
  }
  return { count, nonFinite: count - finite, min, max, mean, std: Math.sqrt(squares / finite), histogram };
}

const BARS = ' ▁▂▃▄▅▆▇█';

/** A histogram in one line of text; a bin that holds anything shows. */
export function sparkline(histogram: readonly number[]): string {
  const most = Math.max(1, ...histogram);
  return histogram.map((count) => BARS[count === 0 ? 0 : Math.max(1, Math.round((8 * count) / most))]).join('');
}
