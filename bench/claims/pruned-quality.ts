import { readFileSync } from 'node:fs';
import {
  compress,
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  type PruneRule,
  verify,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { calibrationWindows, qualityOf, sampleTokens, validationWindows } from '../model-quality.ts';

type Figures = Readonly<Record<'50%' | '2:4' | '4:8', number>>;

interface Reference {
  readonly dense: { readonly perplexity16: number };
  readonly perplexity16: Readonly<Record<'magnitude' | 'wanda' | 'sparsegpt', Figures>> & {
    readonly control: Readonly<Record<'rows shuffled', number>>;
  };
}

/** The same ways of pruning as the reference's, by ours. */
const WAYS: Readonly<Record<'magnitude' | 'wanda' | 'sparsegpt', Omit<PruneRule, 'pattern'>>> = {
  magnitude: { score: 'magnitude' },
  wanda: { score: 'wanda' },
  sparsegpt: { score: 'obs', repair: 'obs' },
};

/** How much of the reference's perplexity ours may be. */
const MOST = 1.03;
/** How much less the best recipe has to lose than the best figure there is. */
const GAIN = 0.03;

/** Of whole-model rounds, beside one. */
const ROUNDS = [2, 4];
/** What choices that are as good differ by. */
const NOISE = 0.005;

const PATTERNS = ['50%', '2:4', '4:8'] as const;

/** Settings of COMPRESSA_CASES, `sparsegpt 2:4,wanda 50%`, say; all where it says nothing. */
const wanted = (setting: string): boolean =>
  process.env.COMPRESSA_CASES === undefined || process.env.COMPRESSA_CASES.split(',').includes(setting);

/** Perplexity of the sample model, pruned in every way for which an independent implementation gave a figure (REFERENCE.json), calibrated on calibration text only. */
export const claim: Claim = {
  name: 'pruned quality',
  async measure(gpu) {
    const reference = JSON.parse(readFileSync(`${SAMPLE_MODEL}/REFERENCE.json`, 'utf8')) as Reference;
    const dense = reference.dense.perplexity16;
    const results: Measurement[] = [];
    for (const [way, how] of Object.entries(WAYS) as [keyof typeof WAYS, (typeof WAYS)[keyof typeof WAYS]][]) {
      for (const pattern of PATTERNS) {
        if (!wanted(`${way} ${pattern}`)) continue;
        const { perplexity, sparsity } = await prunedQuality(gpu, { pattern, ...how });
        const figure = reference.perplexity16[way][pattern];
        results.push({
          claim: `${way}, ${pattern}`,
          threshold: `at most ${MOST} of ${figure}, half of the weights gone`,
          measured: `${perplexity.toFixed(4)} (${(perplexity / figure).toFixed(4)}), ${(100 * sparsity).toFixed(3)}%`,
          pass: perplexity <= MOST * figure && Math.abs(sparsity - 0.5) < 1e-6,
        });
        if (way !== 'sparsegpt' || pattern === '4:8') continue;
        const best = Math.min(
          ...Object.keys(WAYS).map((of) => reference.perplexity16[of as keyof typeof WAYS][pattern]),
        );
        const gain = 1 - (perplexity - dense) / (best - dense);
        results.push({
          claim: `${pattern}: loss of the best recipe (obs, repaired) beside the best figure`,
          threshold: `${100 * GAIN}% less than ${(best - dense).toFixed(4)}`,
          measured: `${(perplexity - dense).toFixed(4)} (${(100 * gain).toFixed(1)}% less)`,
          pass: gain >= GAIN,
        });
      }
    }
    for (const rounds of ROUNDS) if (wanted(`rounds ${rounds}`)) results.push(await besideOneRound(gpu, rounds));
    if (wanted('control')) results.push(await control(gpu));
    return results;
  },
};

/** The best recipe at 50% in several rounds, each calibrated on what the last left, beside one. */
async function besideOneRound(gpu: Gpu, rounds: number): Promise<Measurement> {
  const how = { pattern: '50%', ...WAYS.sparsegpt };
  const { perplexity: once } = await prunedQuality(gpu, how);
  const { perplexity, sparsity } = await prunedQuality(gpu, { ...how, rounds });
  return {
    claim: `sparsegpt, 50%, ${rounds} rounds`,
    threshold: `at most ${1 + NOISE} of one round's, half of the weights gone`,
    measured: `${perplexity.toFixed(4)} beside ${once.toFixed(4)} (${(perplexity / once).toFixed(4)})`,
    pass: perplexity <= (1 + NOISE) * once && Math.abs(sparsity - 0.5) < 1e-6,
  };
}

/** A model that is pruned as above, with its rows shuffled. */
async function control(gpu: Gpu): Promise<Measurement> {
  const output = memoryOutput();
  const recipe = recipeOf({ pattern: '2:4' });
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, recipe });
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const pruned = await openCheckpoint(memoryFolder('pruned', Object.fromEntries(output.files)));
  const tokens = sampleTokens('validation');
  const { accuracy } = await verify(original, pruned, { gpu, tokens, windows: 4, speed: false });
  await Promise.all([original.close(), pruned.close()]);
  const { original: dense, control: shuffled } = accuracy!.perplexity;
  return {
    claim: 'control: the pruned model with its rows shuffled',
    threshold: 'at least 100 times the perplexity of the original',
    measured: `${(shuffled! / dense).toFixed(0)}x`,
    pass: shuffled! / dense >= 100,
  };
}

const recipeOf = (prune: PruneRule) => ({
  version: 1 as const,
  rules: [{ match: '*', role: 'linear' as const, format: 'keep', prune }],
});

async function prunedQuality(gpu: Gpu, prune: PruneRule): Promise<{ perplexity: number; sparsity: number }> {
  const recipe = recipeOf(prune);
  const calibration = prune.score !== 'magnitude' && { calibration: { windows: calibrationWindows() } };
  const { perplexity, report } = await qualityOf(gpu, { recipe, ...calibration }, validationWindows());
  let [gone, all] = [0, 0];
  for (const { prune: pruned, shape } of report.tensors) {
    if (pruned?.sparsity === undefined) continue;
    const weights = shape.reduce((product, size) => product * size, 1);
    gone += pruned.sparsity * weights;
    all += weights;
  }
  console.error(`  ${prune.score} ${prune.pattern}: ${perplexity.toFixed(4)}`);
  return { perplexity, sparsity: gone / all };
}
