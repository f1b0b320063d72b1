import type { Claim } from '../claim.ts';

/**
 * The dense product against the plain register tile that the suite keeps for that, by the suite's own method. The suite runs the sources, for which
 * `tools/wgsl-register.ts` has to be in place.
 */
export const claim: Claim = {
  name: 'dense product',
  async measure(gpu) {
    await import('../../tools/wgsl-register.ts');
    const { measureSquare } = await import('../suite/twins.ts');
    const { speedUp, rate, baselineRate, fraction } = await measureSquare(gpu as never);
    const { ratio, interval } = speedUp;
    return [
      {
        claim: 'f32 1024³ over a plain 8 x 8 register tile',
        threshold: 'never slower: at least 1x at the lower end of the interval; goal 1.5x',
        measured: `${ratio.toFixed(2)}x (95%: ${interval?.map((end) => end.toFixed(2)).join(' to ')}), ${rate.toFixed(1)} of ${baselineRate.toFixed(1)} Gop/s, ${(100 * fraction).toFixed(0)}% of the measured arithmetic`,
        pass: interval !== null && interval[0] >= 1,
      },
    ];
  },
};
