import type { Claim } from '../claim.ts';

const MOST_PASSES = 6;

/**
 * The least of 100 million weights over several matrices: passes over them, and every bit of the masks beside those of counting on the host. It runs the sources, for
 * which `tools/wgsl-register.ts` has to be in place.
 */
export const claim: Claim = {
  name: 'global select',
  async measure(gpu) {
    await import('../../tools/wgsl-register.ts');
    const { measureGlobalSelection } = await import('../suite/global-selection.ts');
    const { weights, passes, readBacks, kept, keep, wrong } = await measureGlobalSelection(gpu as never);
    const what = `the least 37% of ${(weights / 1e6).toFixed(1)} million weights`;
    return [
      {
        claim: `${what}: passes over them`,
        threshold: `at most ${MOST_PASSES}, and no score is read back`,
        measured: `${passes}, ${readBacks} read-backs`,
        pass: passes <= MOST_PASSES && readBacks === 0,
      },
      {
        claim: `${what}: masks, bit by bit, beside those of counting on the host`,
        threshold: `all equal, ${keep} stay`,
        measured: `${wrong} differ, ${kept} stay`,
        pass: wrong === 0 && kept === keep,
      },
    ];
  },
};
