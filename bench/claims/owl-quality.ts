import { compress, type Gpu, memoryOutput, nodeFolder, type PruneRule } from 'compressa';
import type { Claim } from '../claim.ts';
import { SAMPLE_MODEL } from '../claim.ts';
import { calibrationWindows, qualityOf, validationWindows } from '../model-quality.ts';
import { random } from '../random.ts';

/** How single weights are pruned: without repair, as OWL was published on top of Wanda. */
const PRUNE: PruneRule = { pattern: '60%', score: 'wanda' };
const SEEDS = [1, 2, 3, 4, 5];

/** Layers of the sample model that are told apart by their names. */
const LAYER = /^model\.layers\.(\d+)\./;

/**
 * Sparsity per layer by outlier ratio, beside the same sparsities given to layers at random, in the mean of five, and beside the same for all. Calibrated on calibration
 * text only.
 */
export const claim: Claim = {
  name: 'owl quality',
  async measure(gpu) {
    const shares = await sharesOf(gpu);
    const rules = (layers: readonly string[]) =>
      layers.map((pattern, layer) => rule(`model.layers.${layer}.*`, { ...PRUNE, pattern }));
    const owl = await perplexityOf(gpu, [rule('*', { ...PRUNE, layers: 'owl' })], 'owl');
    const uniform = await perplexityOf(gpu, [rule('*', PRUNE)], 'uniform');
    const shuffled: number[] = [];
    for (const seed of SEEDS)
      shuffled.push(await perplexityOf(gpu, rules(permuted(shares, seed)), `at random, ${seed}`));
    const mean = shuffled.reduce((sum, value) => sum + value, 0) / shuffled.length;
    return [
      {
        claim: `${PRUNE.pattern}, ${PRUNE.score}, layers from ${[...shares].sort()[0]} to ${[...shares].sort().at(-1)}`,
        threshold: `at most the mean of ${SEEDS.length} random choices of the same shares`,
        measured: `${owl.toFixed(4)}; at random ${mean.toFixed(4)} (${shuffled.map((value) => value.toFixed(2)).join(', ')}); uniform ${uniform.toFixed(4)}`,
        pass: owl <= mean,
      },
    ];
  },
};

const rule = (match: string, prune: PruneRule) => ({ match, role: 'linear' as const, format: 'keep', prune });

/** The share of weights that each layer loses, as a pattern. */
async function sharesOf(gpu: Gpu): Promise<string[]> {
  const recipe = { version: 1 as const, rules: [rule('*', { ...PRUNE, layers: 'owl' })] };
  const calibration = { windows: calibrationWindows() };
  const report = await compress(await nodeFolder(SAMPLE_MODEL), memoryOutput(), { gpu, recipe, calibration });
  const layers: { gone: number; all: number }[] = [];
  for (const { name, prune, shape } of report.tensors) {
    const layer = LAYER.exec(name);
    if (!layer || prune?.sparsity === undefined) continue;
    const weights = shape[0]! * shape[1]!;
    const known = (layers[Number(layer[1])] ??= { gone: 0, all: 0 });
    known.gone += prune.sparsity * weights;
    known.all += weights;
  }
  return layers.map(({ gone, all }) => `${((100 * gone) / all).toFixed(3)}%`);
}

async function perplexityOf(gpu: Gpu, rules: ReturnType<typeof rule>[], what: string): Promise<number> {
  const calibration = { windows: calibrationWindows() };
  const { perplexity } = await qualityOf(gpu, { recipe: { version: 1, rules }, calibration }, validationWindows());
  console.error(`  ${what}: ${perplexity.toFixed(4)}`);
  return perplexity;
}

/** Fisher-Yates. */
function permuted<T>(values: readonly T[], seed: number): T[] {
  const next = random(seed);
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
