import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { selectMasks } from '../../../src/kernels/reference/select-mask.ts';
import { inputGroups } from '../../../src/passes/calibration/input-groups.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { goneAfter, growing, type PruneRule, parsePattern } from '../../../src/passes/pruning/pruning.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import { findCouplings } from '../../../src/passes/shrinking/couplings.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const windows = windowsOf(101).slice(0, 3);
const settings = smallConfig('Llama', { num_hidden_layers: 2, intermediate_size: 160 });
const pruning = (prune: PruneRule, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format, prune }],
});
const shrinking = (shrink: ShrinkRule): Recipe => ({ version: 1, rules: [{ match: '*', format: 'keep' }], shrink });

async function run(recipe: Recipe, on = gpu) {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  const seen: string[] = [];
  const report = await compress(model.open(), output, {
    ...{ gpu: on, recipe, calibration: { windows } },
    onProgress: ({ tensor, stage }) => seen.push(stage ? `${tensor}, ${stage.name}` : tensor),
  });
  const files = Object.fromEntries(output.files);
  const checkpoint = await openCheckpoint(memoryFolder('pruned', files), { checkWeight });
  const values = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
  return { model, report, values, seen, bytes: output.files.get('model.safetensors')! };
}

type Values = (name: string) => Float32Array;

/** Mean squares of the columns of an input, in f64. */
function meanSquares(graph: Graph, values: Values, input: string, k: number): Float64Array {
  const sums = new Float64Array(k);
  let tokens = 0;
  for (const window of windows) {
    tokens += window.length;
    new ReferenceRun(graph, values).forward([...window], {
      onValue: (_, name, x) => {
        if (name === input) for (const [i, value] of x.entries()) sums[i % k]! += value ** 2;
      },
    });
  }
  return sums.map((sum) => sum / tokens);
}

const bitOf = (mask: Uint32Array, k: number, at: number): boolean =>
  ((mask[Math.floor(at / k) * Math.ceil(k / 32) + ((at % k) >> 5)]! >>> ((at % k) & 31)) & 1) === 1;

/** Which weights stay where each round ranks them by wanda, by what the layers before make that this round has pruned. */
function staysAfter(graph: Graph, original: Values, pattern: string, rounds: number): Map<string, Float32Array> {
  const linear = new Map(graph.weights.filter(({ role }) => role === 'linear').map(({ name, shape }) => [name, shape]));
  let last = new Map<string, Float32Array>();
  for (let number = 1; number <= rounds; number++) {
    const [here] = growing(parsePattern(pattern, 'wanda'), 1, { number, of: rounds });
    const pruned = new Map<string, Float32Array>();
    const now: Values = (name) => pruned.get(name) ?? last.get(name) ?? original(name);
    for (const { input, k, weights } of inputGroups(graph)) {
      const of = weights.filter((name) => linear.has(name));
      if (of.length === 0) continue;
      const factors = Float32Array.from(meanSquares(graph, now, input, k), Math.sqrt);
      for (const name of of) {
        const before = last.get(name) ?? original(name);
        const rows = linear.get(name)![0]!;
        const [mask] = selectMasks([{ weights: before, rows, k, factors }], here!);
        pruned.set(
          name,
          before.map((w, at) => (bitOf(mask!, k, at) ? w : 0)),
        );
      }
    }
    last = pruned;
  }
  return last;
}

/** Share of weights that only one of both keeps. */
function disagreement(made: Values, wanted: ReadonlyMap<string, Float32Array>): number {
  let [differ, all] = [0, 0];
  for (const [name, weights] of wanted) {
    const values = made(name);
    all += weights.length;
    for (const [at, w] of weights.entries()) if ((w === 0) !== (values[at] === 0)) differ++;
  }
  return differ / all;
}

test.each([
  ['50%@row', 3],
  ['block:4x4:50%', 2],
])(
  '%s: a round goes on from the masks of the last, by what the model makes that was pruned so far',
  async (pattern, rounds) => {
    const { model, values, report, seen } = await run(pruning({ pattern, score: 'wanda', rounds }));
    const once = await run(pruning({ pattern, score: 'wanda' }));
    const wanted = staysAfter(model.graph, model.values, pattern, rounds);
    // Sums in f32 tip a few of 130,000 weights that are nearly alike.
    expect(disagreement(values, wanted)).toBeLessThan(5e-4);
    // The control: what one round makes is something else.
    expect(disagreement(once.values, wanted)).toBeGreaterThan(2e-3);
    expect(disagreement(once.values, staysAfter(model.graph, model.values, pattern, 1))).toBeLessThan(5e-4);
    for (const [at, { prune }] of report.tensors.entries())
      expect(prune?.sparsity).toBe(once.report.tensors[at]!.prune?.sparsity);
    expect(seen.filter((tensor) => tensor.endsWith(`round 1 of ${rounds}`))).toHaveLength(14);
  },
);

test('rows that are not on the GPU together go on from their part of the masks', async () => {
  const pattern = '60%@layer';
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 96 * 64 * 4 });
  const { model, values } = await run(pruning({ pattern, score: 'wanda', rounds: 2 }), narrow);
  expect(disagreement(values, staysAfter(model.graph, model.values, pattern, 2))).toBeLessThan(5e-4);
});

test('what stays is fitted to the original weights in every round, and packed and quantized in the last', async () => {
  const prune = { pattern: '2:4', score: 'obs', repair: 'obs' } as const;
  const [once, twice, again] = [
    await run(pruning(prune)),
    await run(pruning({ ...prune, rounds: 2 })),
    await run(pruning({ ...prune, rounds: 2 })),
  ];
  expect(twice.bytes).toEqual(again.bytes);
  expect(twice.bytes).not.toEqual(once.bytes);
  for (const [at, { name, prune: of }] of twice.report.tensors.entries()) {
    if (!of) continue;
    expect(of.sparsity).toBe(0.5);
    // Errors are of the original weights, in each on inputs of its own: an error of the last round alone would be far smaller.
    const one = once.report.tensors[at]!.prune!;
    expect(of.error! / one.error!, name).toBeGreaterThan(0.7);
    expect(of.error! / one.error!, name).toBeLessThan(1.4);
  }
  const single = await run(pruning({ ...prune, rounds: 1 }));
  expect(single.bytes).toEqual(once.bytes);
  const packed = await run(pruning({ ...prune, rounds: 2, packed: true }, 'q8_0'));
  const linear = packed.report.tensors.filter(({ role }) => role === 'linear');
  for (const { format, prune: of } of linear) {
    expect(format).toBe('q8_0@2:4');
    expect(of!.sparsity).toBe(0.5);
  }
});

test('channels go in rounds, each among those that the last one left, by what the shrunken layers before make', async () => {
  const rounds = 3;
  const shrink = { pattern: 'ffn:50%', score: 'wanda' } as const;
  const { model, report } = await run(shrinking({ ...shrink, rounds }));
  const once = await run(shrinking(shrink));
  const couplings = findCouplings(model.graph, 'ffn', 'random');
  let last = new Map<string, { readonly kept: number[]; readonly weights: Float32Array }>();
  for (let round = 1; round <= rounds; round++) {
    const now = new Map<string, { kept: number[]; weights: Float32Array }>();
    const values: Values = (name) => (now.get(name) ?? last.get(name))?.weights ?? model.values(name);
    for (const { reader, input, units: k } of couplings) {
      const squares = meanSquares(model.graph, values, input, k);
      const original = model.values(reader);
      const worth = new Float64Array(k);
      for (const [at, w] of original.entries()) worth[at % k]! += w ** 2 * squares[at % k]!;
      const stay = k - Math.floor((k / 2) * goneAfter(round, rounds));
      const from = last.get(reader)?.kept ?? [...worth.keys()];
      const kept = [...from].sort((a, b) => worth[b]! - worth[a]!).slice(0, stay);
      now.set(reader, { kept, weights: original.map((w, at) => (kept.includes(at % k) ? w : 0)) });
    }
    last = now;
  }
  const missed = (shrunk: NonNullable<typeof report.shrink>) =>
    couplings.reduce((sum, { reader }, at) => {
      const { kept } = last.get(reader)!;
      return sum + shrunk[at]!.removed.filter((unit) => kept.includes(unit)).length;
    }, 0);
  for (const { units, removed } of report.shrink!) expect(removed).toHaveLength(units / 2);
  expect(report.shrink).toHaveLength(couplings.length);
  expect(missed(report.shrink!)).toBeLessThanOrEqual(1);
  expect(missed(once.report.shrink!)).toBeGreaterThan(1);
  const fitted = await run(shrinking({ ...shrink, score: 'obs', repair: 'refit', rounds: 2 }));
  const fittedOnce = await run(shrinking({ ...shrink, score: 'obs', repair: 'refit' }));
  for (const [at, { error }] of fitted.report.shrink!.entries())
    expect(error! / fittedOnce.report.shrink![at]!.error!).toBeLessThan(1.3);
});

test('masks that wait are counted in the plan', async () => {
  const plan = async (rounds: number) => {
    const model = await modelFolder(settings);
    const recipe = pruning({ pattern: '50%', score: 'wanda', rounds });
    return (await planCompression(model.open(), { recipe, calibration: { windows } })).memory.host;
  };
  const model = await modelFolder(settings);
  const linear = model.graph.weights.filter(({ role }) => role === 'linear');
  const words = linear.reduce((sum, { shape }) => sum + shape[0]! * Math.ceil(shape[1]! / 32), 0);
  expect((await plan(2)) - (await plan(1))).toBe(4 * words);
});

test.each([
  [pruning({ pattern: '50%', rounds: 2 }), /by size alone the same weights go at once/],
  [pruning({ pattern: '1:2', score: 'obs', rounds: 2 }), /which goes in one round/],
  [pruning({ pattern: '2:4', score: 'obs', rounds: 3 }), /which goes in 2 rounds at most/],
  [pruning({ pattern: '50%', score: 'obs', layers: 'owl', rounds: 2 }), /leave "rounds" out, or "layers"/],
  [shrinking({ pattern: 'layers:1', rounds: 2 }), /leave "rounds" out/],
  [shrinking({ pattern: 'ffn:50%', rounds: 2 }), /leave "rounds" out/],
  [shrinking({ pattern: 'ffn:50%', repair: 'refit', rounds: 2 }), /leave "rounds" out/],
] as const)('rounds that could do nothing are refused: %#', async (recipe, message) => {
  const model = await modelFolder(settings);
  const plan = planCompression(model.open(), { recipe, calibration: { windows } });
  await expect(plan).rejects.toThrow(RecipeError);
  await expect(plan).rejects.toThrow(message);
});

test('units that are too few for so many rounds are refused', async () => {
  const model = await modelFolder(settings);
  const recipe = shrinking({ pattern: 'ffn:50%,heads:1', score: 'obs', rounds: 2 });
  const plan = planCompression(model.open(), { recipe, calibration: { windows } });
  await expect(plan).rejects.toThrow(/1 of 2 heads of each layer can't go in 2 rounds/);
});

test('rounds that could not see what the last left are refused', async () => {
  const model = await modelFolder(settings);
  const recipe = pruning({ pattern: '50%', score: 'obs', rounds: 2 });
  const plan = planCompression(model.open(), { recipe, calibration: { windows, propagate: false } });
  await expect(plan).rejects.toThrow(/let blocks see what those before them make/);
});
