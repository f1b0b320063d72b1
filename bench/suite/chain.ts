import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Step } from '../../src/gpu/kernel.ts';
import type { Traffic } from './contestant.ts';
import { leastSeconds } from './figures.ts';
import type { SuiteContext } from './suite.ts';

/** Products of a run where the device is fast enough: what peers put into one graph. */
const USUAL = 8;
const MOST = 256;
/** A run this long hides its submit. */
const ENOUGH_SECONDS = 0.01;
/** A run this long is long enough for anybody. */
const MOST_SECONDS = { quick: 0.12, full: 1 } as const;
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

/** A run this long, of the device itself, hides what submitting it and waiting for it takes. */
const LONG_SECONDS = 0.04;
const MOST_STEPS = 2048;
/** A step that took so many times as long is long enough, though it was compiled in it. */
const SURELY = 10;

/** How often a step follows itself until a run is long, found by timing, and what one then takes: for what nothing is known of before. */
export async function timedChain(
  gpu: Pick<Gpu, 'scheduler' | 'idle'>,
  step: Step,
  now = () => performance.now(),
): Promise<{ readonly count: number; readonly seconds: number }> {
  for (let count = 1; ; ) {
    const recording = await gpu.scheduler.record(Array<Step>(count).fill(step), 'chain');
    const time = async () => {
      const start = now();
      recording.submit();
      await gpu.idle();
      return (now() - start) / 1000;
    };
    try {
      // The first run warms up.
      let seconds = await time();
      if (seconds < SURELY * LONG_SECONDS) seconds = await time();
      if (seconds >= LONG_SECONDS || count === MOST_STEPS) return { count, seconds: seconds / count };
      // A submit that counts makes steps look long, so that this is too few: then it goes on.
      const wanted = seconds > 0 ? Math.ceil((count * LONG_SECONDS) / seconds) : MOST_STEPS;
      count = Math.min(MOST_STEPS, Math.max(2 * count, wanted));
    } finally {
      recording.release();
    }
  }
}
