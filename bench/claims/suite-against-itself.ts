import type { Gpu } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';

/** Pairs of identical contestants: enough that one interval in ten may miss. */
const CASES = 20;
const LEAST_SHARE = 0.9;
const FARTHEST = [0.9, 1.1] as const;
/** Rows and columns of the weights; every second case is another product. */
const SIZES = [1024, 1536, 2048] as const;

/**
 * The suite's own method on two contestants that are the same: what it says is different is noise. The suite runs the sources, for which
 * `tools/wgsl-register.ts` has to be in place.
 */
export const claim: Claim = {
  name: 'suite against itself',
  async measure(gpu) {
    await import('../../tools/wgsl-register.ts');
    return againstItself(gpu);
  },
};

async function againstItself(gpu: Gpu): Promise<Measurement[]> {
  const { measureTwins } = await import('../suite/twins.ts');
  const intervals = await measureTwins(gpu as never, CASES, SIZES);
  const holding = intervals.filter(([low, high]) => low <= 1 && high >= 1).length;
  const [least, most] = FARTHEST;
  const outside = intervals.filter(([low, high]) => low < least || high > most).length;
  const text = (values: readonly number[]) => values.map((value) => value.toFixed(3)).join(' to ');
  return [
    {
      claim: `intervals of ${CASES} ratios of a product over itself that contain 1`,
      threshold: `at least ${100 * LEAST_SHARE}%`,
      measured: `${holding} of ${intervals.length}`,
      pass: holding >= LEAST_SHARE * intervals.length,
    },
    {
      claim: 'those that reach outside',
      threshold: `none below ${least} or above ${most}`,
      measured: `${outside}; from ${text([Math.min(...intervals.map(([low]) => low)), Math.max(...intervals.map(([, high]) => high))])}`,
      pass: outside === 0,
    },
  ];
}
