import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compress,
  cutWindows,
  type Gpu,
  memoryFolder,
  memoryOutput,
  nodeFileSink,
  nodeFolder,
  openCheckpoint,
  type ShrinkRule,
  verify,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { ourOpinion, perplexityClaim, theirOpinion } from '../gguf-opinions.ts';
import { calibrationWindows, qualityOf, sampleTokens, validationWindows } from '../model-quality.ts';

interface Reference {
  readonly perplexity16: { readonly 'ffn channels removed, refit': Readonly<Record<'25%' | '50%', number>> };
}

/** How much of the reference's perplexity ours may be. */
const MOST = 1.03;
const SHARES = ['25%', '50%'] as const;
/** Of whole-model rounds, beside one. */
const ROUNDS = [2, 4];
/** What choices that are as good differ by. */
const NOISE = 0.005;
const SEEDS = [1, 2, 3, 4, 5];

const recipeOf = (shrink: ShrinkRule) => ({
  version: 1 as const,
  rules: [{ match: '*', format: 'keep' }],
  shrink,
});

const perplexityOf = async (gpu: Gpu, shrink: ShrinkRule): Promise<number> => {
  const calibration = { windows: calibrationWindows() };
  const { perplexity } = await qualityOf(gpu, { recipe: recipeOf(shrink), calibration }, validationWindows());
  console.error(
    `  ${shrink.pattern} ${shrink.score} ${shrink.repair} ${shrink.seed ?? shrink.rounds ?? ''}: ${perplexity.toFixed(4)}`,
  );
  return perplexity;
};

/**
 * What the sample model loses when FFN channels, KV groups or layers go, calibrated on calibration text only: beside an independent implementation's
 * figures (REFERENCE.json), beside random choice of the same size, and in llama.cpp.
 */
export const claim: Claim = {
  name: 'shrunk quality',
  async measure(gpu, takes) {
    const { perplexity16 } = JSON.parse(readFileSync(`${SAMPLE_MODEL}/REFERENCE.json`, 'utf8')) as Reference;
    const results: Measurement[] = [];
    for (const share of SHARES) {
      const pattern = `ffn:${share}`;
      if (!takes(pattern)) continue;
      const figure = perplexity16['ffn channels removed, refit'][share];
      const perplexity = await perplexityOf(gpu, { pattern, score: 'obs', repair: 'refit' });
      const random = await perplexityOf(gpu, { pattern, score: 'random', repair: 'refit', seed: 1 });
      results.push({
        claim: `${pattern}, refitted`,
        threshold: `at most ${MOST} of ${figure}, and less than at random`,
        measured: `${perplexity.toFixed(4)} (${(perplexity / figure).toFixed(4)}); at random ${random.toFixed(4)}`,
        pass: perplexity <= MOST * figure && perplexity < random,
      });
    }
    for (const share of SHARES) if (takes(`widths:${share}`)) results.push(await ownWidths(gpu, share));
    for (const pattern of ['heads:1', 'layers:1', 'layers:2']) {
      if (takes(pattern)) results.push(await besideRandom(gpu, pattern));
    }
    if (takes('rounds')) results.push(await besideOneRound(gpu));
    if (takes('control')) results.push(await control(gpu));
    if (takes('llama.cpp')) results.push(await inLlamaCpp(gpu));
    return results;
  },
};

/** Layers with as many channels as cost least, beside layers that are alike, of the same size. */
async function ownWidths(gpu: Gpu, share: string): Promise<Measurement> {
  const rule = { pattern: `ffn:${share}`, score: 'obs', repair: 'refit' } as const;
  const alike = await perplexityOf(gpu, rule);
  const calibration = { windows: calibrationWindows() };
  const recipe = recipeOf({ ...rule, layers: 'sensitivity' });
  const { perplexity, report } = await qualityOf(gpu, { recipe, calibration }, validationWindows());
  const widths = report.shrink!.map(({ units, removed }) => units - removed.length);
  return {
    claim: `ffn:${share}, refitted, each layer as wide as its sensitivity says`,
    threshold: 'reported beside layers that are alike',
    measured: `${perplexity.toFixed(4)}, alike ${alike.toFixed(4)} (${(perplexity / alike).toFixed(4)}); ${widths.join(', ')} channels`,
    pass: Number.isFinite(perplexity),
  };
}

/** Never worse than random choice of the same size, refitted just as well, in the mean of five. */
async function besideRandom(gpu: Gpu, pattern: string): Promise<Measurement> {
  // Layers go by what they change, and leave nothing to fit.
  const layers = pattern.startsWith('layers');
  const repair = layers ? 'none' : 'refit';
  const chosen = await perplexityOf(gpu, { pattern, ...(!layers && { score: 'obs' }), repair });
  const random: number[] = [];
  for (const seed of SEEDS) random.push(await perplexityOf(gpu, { pattern, score: 'random', repair, seed }));
  const mean = random.reduce((sum, value) => sum + value, 0) / random.length;
  return {
    claim: pattern,
    threshold: `at most the mean of ${SEEDS.length} random choices`,
    measured: `${chosen.toFixed(4)}; at random ${mean.toFixed(4)} (${random.map((value) => value.toFixed(2)).join(', ')})`,
    pass: chosen <= mean,
  };
}

/** Half of the channels in rounds, each calibrated on what the last left, beside one. */
async function besideOneRound(gpu: Gpu): Promise<Measurement> {
  const how = { pattern: 'ffn:50%', score: 'obs', repair: 'refit' } as const;
  const once = await perplexityOf(gpu, how);
  const several: number[] = [];
  for (const rounds of ROUNDS) several.push(await perplexityOf(gpu, { ...how, rounds }));
  return {
    claim: `ffn:50%, refitted, in ${ROUNDS.join(' and ')} rounds`,
    threshold: `at most ${1 + NOISE} of one round's`,
    measured: `${several.map((value) => value.toFixed(4)).join(', ')} beside ${once.toFixed(4)}`,
    pass: several.every((value) => value <= (1 + NOISE) * once),
  };
}

/** A model that is shrunk as above, with its rows shuffled. */
async function control(gpu: Gpu): Promise<Measurement> {
  const output = memoryOutput();
  const recipe = recipeOf({ pattern: 'ffn:25%', score: 'magnitude' });
  await compress(await nodeFolder(SAMPLE_MODEL), output, { gpu, recipe });
  const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const shrunk = await openCheckpoint(memoryFolder('shrunk', Object.fromEntries(output.files)));
  const tokens = sampleTokens('validation');
  const { accuracy } = await verify(original, shrunk, { gpu, tokens, windows: 4, speed: false });
  await Promise.all([original.close(), shrunk.close()]);
  const { original: dense, control: shuffled } = accuracy!.perplexity;
  return {
    claim: 'control: the shrunk model with its rows shuffled',
    threshold: 'at least 100 times the perplexity of the original',
    measured: `${(shuffled! / dense).toFixed(0)}x`,
    pass: shuffled! / dense >= 100,
  };
}

/** The shrunk model as an ordinary one to llama.cpp. */
async function inLlamaCpp(gpu: Gpu): Promise<Measurement> {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-shrunk-'));
  try {
    const path = join(folder, 'shrunk.gguf');
    const recipe = recipeOf({ pattern: 'layers:1,heads:1,ffn:50%', score: 'obs', repair: 'refit' });
    const calibration = { windows: calibrationWindows().slice(0, 16) };
    await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, recipe, calibration });
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const windows = cutWindows(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), { windows: 4 });
    const prompt = [...windows[0]!.slice(0, 8)];
    const theirs = await theirOpinion(path, windows, prompt);
    if (typeof theirs === 'string') {
      return { claim: 'llama.cpp', threshold: 'llama.cpp is there', measured: theirs, pass: false };
    }
    return perplexityClaim('layers:1,heads:1,ffn:50%', await ourOpinion(gpu, path, windows, prompt), theirs);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
