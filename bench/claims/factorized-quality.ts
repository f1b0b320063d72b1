import { readFileSync } from 'node:fs';
import {
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  openModel,
  scoreWindows,
  verify,
} from 'compressa';
import { factorize } from 'compressa/low-rank';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { calibrationWindows, sampleTokens, validationWindows } from '../model-quality.ts';

type Figures = Readonly<Record<'keep 0.9' | 'keep 0.8' | 'keep 0.6', number>>;

interface Reference {
  readonly perplexity16: Readonly<Record<'svd' | 'svd whitened', Figures>>;
}

/** How much of the reference's perplexity ours may be. */
const MOST = 1.03;
const SHARES = [0.9, 0.8, 0.6] as const;

/** Perplexity of the sample model with its 56 linear matrices as products of two, at the shares for which an independent implementation gave a figure (REFERENCE.json); whitened by calibration text only. */
export const claim: Claim = {
  name: 'factorized quality',
  async measure(gpu, takes) {
    const { perplexity16 } = JSON.parse(readFileSync(`${SAMPLE_MODEL}/REFERENCE.json`, 'utf8')) as Reference;
    const results: Measurement[] = [];
    for (const way of ['svd', 'svd whitened'] as const) {
      for (const keep of SHARES) {
        if (!takes(`${way} ${keep}`)) continue;
        const files = await factored(gpu, keep, way === 'svd whitened');
        const figure = perplexity16[way][`keep ${keep}`];
        const model = await openModel(files.open(), { gpu, maxPositions: 256 });
        const { decoder } = model;
        const { perplexity } = await scoreWindows(decoder, decoder, validationWindows());
        await model.close();
        const ratio = perplexity.original / figure;
        console.error(`  ${way} ${keep}: ${perplexity.original.toFixed(4)} (${ratio.toFixed(4)})`);
        results.push({
          claim: `${way}, keep ${keep}`,
          threshold: `at most ${MOST} of ${figure}, at most ${100 * keep}% of the parameters`,
          measured: `${perplexity.original.toFixed(4)} (${ratio.toFixed(4)}), ${(100 * files.share).toFixed(2)}%`,
          pass: ratio <= MOST && files.share <= keep,
        });
      }
    }
    if (takes('control')) results.push(await control(gpu));
    return results;
  },
};

async function factored(gpu: Gpu, keep: number, whitened: boolean) {
  const output = memoryOutput();
  const calibration = whitened && { calibration: { windows: calibrationWindows() } };
  const { parameters } = await factorize(await nodeFolder(SAMPLE_MODEL), output, { gpu, keep, ...calibration });
  const open = () => memoryFolder('factorized', Object.fromEntries(output.files));
  return { open, share: parameters.after / parameters.before };
}

/** A factorized model as above, with its rows shuffled. */
async function control(gpu: Gpu): Promise<Measurement> {
  const { open } = await factored(gpu, 0.9, false);
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const compressed = await openCheckpoint(open());
  const { accuracy } = await verify(original, compressed, {
    ...{ gpu, tokens: sampleTokens('validation'), windows: 4, speed: false },
  });
  await Promise.all([original.close(), compressed.close()]);
  const { original: dense, control: shuffled } = accuracy!.perplexity;
  return {
    claim: 'control: the factorized model with its rows shuffled',
    threshold: 'at least 100 times the perplexity of the original',
    measured: `${(shuffled! / dense).toFixed(0)}x`,
    pass: shuffled! / dense >= 100,
  };
}
