import type { Claim, Measurement } from '../claim.ts';

/** Of the dense time. */
const MOST = { ffn: 0.56, layer: 0.65 } as const;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 75);

/**
 * What a layer of 8B shapes takes for a token once half of its FFN channels are gone, over all of them: 7168 of 14336, beside attention of 32 heads in groups of 4 over 128
 * positions. The kernels choose their variants as in a model that was not tuned. The suite runs the sources, for which `tools/wgsl-register.ts` has to be in place.
 */
export const claim: Claim = {
  name: 'shrunk speed',
  async *measure(gpu, takes) {
    await import('../../tools/wgsl-register.ts');
    const { measureShrunkLayer } = await import('../suite/shrunk-layer.ts');
    for (const format of ['f16', 'q4_0']) {
      if (!takes(format)) continue;
      const times = await measureShrunkLayer(gpu as never, format, 0.5, PAIRS);
      for (const what of ['ffn', 'layer'] as const) {
        const { ratio, interval } = times[what];
        const ends = interval?.map((end) => end.toFixed(3)).join(' to ');
        yield {
          claim: `${format}, ${what === 'ffn' ? 'the FFN' : 'the whole layer'} with half of its FFN channels`,
          threshold: `at most ${MOST[what]} of its dense time`,
          measured: `${ratio.toFixed(3)} (95%: ${ends}; dense ${(1000 * times.dense[what]).toFixed(1)} ms)`,
          pass: ratio <= MOST[what],
        } satisfies Measurement;
      }
    }
  },
};
