import { readFileSync } from 'node:fs';
import { compress, memoryFolder, memoryOutput, nodeFolder, openCheckpoint, verify } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';

/** What q8_0 and q4_0 cost the sample model, beside a control that has to fail. */
export const claim: Claim = {
  name: 'quantized accuracy',
  async measure(gpu) {
    const bytes = readFileSync(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const results: Measurement[] = [];
    for (const [format, most] of [
      ['q8_0', 0.001],
      ['q4_0', 0.01],
    ] as const) {
      const output = memoryOutput();
      await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, format });
      const compressed = await openCheckpoint(memoryFolder(format, Object.fromEntries(output.files)));
      const { accuracy } = await verify(original, compressed, { gpu, tokens, windows: 16, speed: false });
      const perplexity = accuracy!.perplexity;
      const increase = perplexity.compressed! / perplexity.original - 1;
      // Of the original on the control's own windows.
      const control = accuracy!.control!.ratio;
      results.push(
        {
          claim: `${format}: perplexity increase`,
          threshold: `under ${100 * most}%`,
          measured: `${(100 * increase).toFixed(3)}% (${perplexity.compressed!.toFixed(4)})`,
          pass: increase < most,
        },
        {
          claim: `${format}: control with shuffled rows`,
          threshold: 'above 20x',
          measured: `${control.toFixed(0)}x`,
          pass: control > 20,
        },
      );
    }
    await original.close();
    return results;
  },
};
