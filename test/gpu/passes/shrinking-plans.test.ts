import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, FileError, FormatError, ModelError, RecipeError } from '../../../src/errors.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import { findCouplings } from '../../../src/passes/shrinking/couplings.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig } from '../small-model.ts';
import { recipeOf, shrunk, windows } from './shrunk-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

test('without a calibration, magnitude and random need none; the dry run has the sizes', async () => {
  const model = await modelFolder(smallConfig());
  const plan = await planCompression(model.open(), { recipe: recipeOf({ pattern: 'ffn:25%' }) });
  const output = memoryOutput();
  const report = await compress(model.open(), output, { gpu, recipe: recipeOf({ pattern: 'ffn:25%' }) });
  expect(report.bytesAfter).toBe(plan.bytesAfter);
  expect(plan.bytesBefore - plan.bytesAfter).toBe(2 * 3 * 24 * 64 * 4);
  const { reader, units } = findCouplings(model.graph, 'ffn', 'random')[0]!;
  const norms = Array.from({ length: units }, (_, column) =>
    model.values(reader).reduce((sum, w, at) => sum + (at % units === column ? w * w : 0), 0),
  );
  const least = [...norms.keys()].sort((a, b) => norms[a]! - norms[b]!).slice(0, 24);
  expect(report.shrink![0]!.removed).toEqual(least.sort((a, b) => a - b));
});

test('a number that leaves rows of no whole blocks is refused, with those that would work', async () => {
  const model = await modelFolder(smallConfig());
  const plan = (pattern: string, format: string) =>
    planCompression(model.open(), { recipe: recipeOf({ pattern }, format) });
  await expect(plan('ffn:25', 'q8_0')).rejects.toThrow(FormatError);
  await expect(plan('ffn:25', 'q8_0')).rejects.toThrow(/would have 71 weights.*block size 32\. Give ffn:32\.$/);
  await expect(plan('ffn:40', 'q8_0')).rejects.toThrow(/Give ffn:32 or ffn:64\.$/);
  await expect(plan('ffn:40', 'q4_k')).rejects.toThrow(/Choose a format with smaller blocks/);
  await expect(plan('ffn:64', 'q8_0')).resolves.toBeDefined();
  await expect(plan('ffn:25', 'keep')).resolves.toBeDefined();
});

const refused = async (shrink: ShrinkRule, more: object = {}) => {
  const model = await modelFolder(smallConfig('Llama', more));
  const plan = planCompression(model.open(), { recipe: recipeOf(shrink), calibration: { windows } });
  return plan.then(
    () => 'nothing',
    (error: Error) => error,
  );
};

test.each([
  ['ffn:96', ArgumentError, /96 would go, which leaves nothing: give ffn:1 to ffn:95/],
  ['ffn:100%', ArgumentError, /leaves nothing/],
  ['ffn:0', ArgumentError, /none would go/],
  ['ffn:1%', ArgumentError, /none would go: give ffn:1 to ffn:95, or a share from 1.05%/],
  ['heads:2', ArgumentError, /2 KV groups each, of which 2 would go, which leaves nothing: give heads:1 to heads:1/],
  ['heads:3', ArgumentError, /give heads:1/],
  ['layers:2', ArgumentError, /it has 2 layers, of which 2 would go, which leaves nothing: give layers:1 to layers:1/],
  ['ffn', RecipeError, /says not how much goes: write an amount behind it/],
  ['ffn:25%,ffn:3', RecipeError, /twice/],
  ['rows:3', RecipeError, /There is no pattern "rows:3"/],
] as const)('%s is refused', async (pattern, kind, message) => {
  const error = await refused({ pattern });
  expect(error).toBeInstanceOf(kind);
  expect((error as Error).message).toMatch(message);
});

test('what can not be shrunk is refused by name', async () => {
  const one = await refused({ pattern: 'heads:1' }, { num_key_value_heads: 1 });
  expect((one as Error).message).toMatch(/1 KV group each, which can't be removed/);
  const model = await modelFolder(smallConfig());
  const recipe = recipeOf({ pattern: 'ffn:25%', score: 'obs' });
  await expect(planCompression(model.open(), { recipe })).rejects.toThrow(/obs needs a calibration text/);
  const turned = { ...recipe, rotation: { seed: 1, inner: true } };
  await expect(planCompression(model.open(), { recipe: turned, calibration: { windows } })).rejects.toThrow(ModelError);
  const { files } = await shrunk(gpu, { pattern: 'ffn:32' }, { format: 'q8_0' });
  const again = planCompression(memoryFolder('again', files), { recipe: recipeOf({ pattern: 'ffn:25%' }) });
  await expect(again).rejects.toThrow(FileError);
  await expect(again).rejects.toThrow(/q8_0: only a model that is not compressed can be shrunk/);
  const bare = planCompression(memorySource('bare', files['model.safetensors'] as Uint8Array), {
    recipe: recipeOf({ pattern: 'ffn:25%' }),
  });
  const layers = { recipe: recipeOf({ pattern: 'layers:1' }) };
  await expect(planCompression(model.open(), layers)).rejects.toThrow(/Removing layers needs a calibration text/);
  const left = planCompression(memoryFolder('again', files), { ...layers, calibration: { windows } });
  await expect(left).rejects.toThrow(/is quantized: only a model that is not compressed can be shrunk/);
  await expect(bare).rejects.toThrow(/bare tensors can't be shrunk/);
});

test('a model that computes no numbers is refused by name, whatever looks at its inputs', async () => {
  const model = await modelFolder(smallConfig('Llama', { num_hidden_layers: 3 }), (name, values) => {
    if (name.endsWith('layers.1.mlp.down_proj.weight')) values.fill(3e38);
  });
  const run = (recipe: Recipe) => compress(model.open(), memoryOutput(), { gpu, recipe, calibration: { windows } });
  const before = gpu.memory.bytesInUse;
  const layers = run(recipeOf({ pattern: 'layers:1' }));
  await expect(layers).rejects.toThrow(ArgumentError);
  await expect(layers).rejects.toThrow(/What goes into layer 1, or comes out of it, is not finite/);
  const prune = { pattern: '50%', score: 'wanda', layers: 'owl' } as const;
  const owl = run({ version: 1, rules: [{ match: '*', role: 'linear', format: 'keep', prune }] });
  await expect(owl).rejects.toThrow(ArgumentError);
  await expect(owl).rejects.toThrow(/The inputs of .*layers\.2\.self_attn\.q_proj\.weight.* are not finite in column/);
  expect(gpu.memory.bytesInUse).toBe(before);
});
