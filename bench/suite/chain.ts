import type { Traffic } from './contestant.ts';
import { leastSeconds } from './figures.ts';
import type { SuiteContext } from './suite.ts';

/** Products of a run where the device is fast enough: what peers put into one graph. */
const USUAL = 8;
const MOST = 256;
/** A run this long hides its submit. */
const ENOUGH_SECONDS = 0.01;
/** A run this long is long enough for anybody. */
const MOST_SECONDS = { quick: 0.25, full: 1 } as const;
/** How far from the roofline a kernel is thought to be, before it is timed. */
const SLOWER = 3;

/** How many products a run chains: a power of two, 8 or more unless the device is too slow for that. */
export function chainLength(traffic: Traffic, { roofline, quick }: Pick<SuiteContext, 'roofline' | 'quick'>): number {
  const least = roofline && leastSeconds(traffic, roofline);
  if (!least) return USUAL;
  const one = SLOWER * least.seconds;
  const power = (seconds: number) => 2 ** Math.floor(Math.log2(Math.max(1, seconds / one)));
  const most = power(quick ? MOST_SECONDS.quick : MOST_SECONDS.full);
  return Math.min(MOST, most, Math.max(USUAL, power(ENOUGH_SECONDS)));
}
