import type { Claim, Measurement } from '../claim.ts';

/** How much faster than a choice another variant may be, at the lower end of the interval. */
const MOST = 1.05;

/**
 * What a tuner chooses for forty classes of shapes against every other variant, in pairs. It runs the sources, for which `tools/wgsl-register.ts` has to be in
 * place. `npm run claims -- tuner-choices q4_0,attention` measures some of them.
 */
export const claim: Claim = {
  name: 'tuner choices',
  async measure(gpu, takes) {
    await import('../../tools/wgsl-register.ts');
    const { measureChoice, SHAPE_CLASSES } = await import('../suite/tuner-choices.ts');
    const beaten: string[] = [];
    let [looked, rivals] = [0, 0];
    for (const need of SHAPE_CLASSES) {
      if (!takes(need.kind === 'linear' ? need.format.name : 'attention')) continue;
      const found = await measureChoice(gpu as never, need);
      looked++;
      rivals += found.rivals.length;
      const text = found.rivals.map(
        ({ name, ratio, interval }) =>
          `${name} ${ratio.toFixed(2)} (${interval.map((end) => end.toFixed(2)).join(' to ')})`,
      );
      console.error(`  ${found.key}: ${found.choice}; ${text.join(', ')}`);
      for (const { name, interval } of found.rivals) {
        if (interval[0] > MOST) beaten.push(`${found.key}: ${name} beats ${found.choice}`);
      }
    }
    const measurement: Measurement = {
      claim: `variants that beat the choice, of ${looked} classes`,
      threshold: `none by more than 5% at the lower end of the interval; ${SHAPE_CLASSES.length} classes in all`,
      measured: beaten.length > 0 ? beaten.join('; ') : `none of ${rivals} that came near`,
      pass: looked > 0 && beaten.length === 0,
    };
    return [measurement];
  },
};
