import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, type CompressaError, FormatError, RecipeError } from '../../../src/errors.ts';
import { type ModelFiles, memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { prepare } from '../../../src/passes/prepare.ts';
import { predictTime, productsOf } from '../../../src/passes/pruning/predict-time.ts';
import { previewPruning } from '../../../src/passes/pruning/preview-pruning.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import { type Product, productKey } from '../../../src/tuner/product-times.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const settings = smallConfig('Llama', { num_hidden_layers: 4, intermediate_size: 128 });
const shrinking = (pattern: string, more: object = {}, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format }],
  shrink: { pattern, ...more },
});
const blocks = (pattern: string, more: object = {}, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format, prune: { pattern, packed: true, ...more } }],
});

/** Bytes of the file of weights that a recipe writes. */
async function written(recipe: Recipe, kind: 'safetensors' | 'gguf' = 'safetensors') {
  const model = await modelFolder(settings);
  if (kind === 'gguf') {
    const sink = memorySink('small.gguf');
    const report = await compress(model.open(), sink, { gpu, recipe });
    return { bytes: sink.bytes().byteLength, report };
  }
  const output = memoryOutput();
  const report = await compress(model.open(), output, { gpu, recipe });
  return { bytes: output.files.get('model.safetensors')!.byteLength, report };
}

const amountIn = ({ shrink, rules }: Recipe): string => shrink?.pattern ?? rules[0]!.prune!.pattern;

test.each([
  ['ffn', shrinking('ffn', { keep: 0.8 }), (at: number) => shrinking(`ffn:${at}`), 1],
  ['ffn of blocks', shrinking('ffn', { keep: 0.8 }, 'q4_0'), (at: number) => shrinking(`ffn:${at}`, {}, 'q4_0'), 32],
  [
    'layers',
    shrinking('layers', { keep: 0.6, score: 'random' }),
    (at: number) => shrinking(`layers:${at}`, { score: 'random' }),
    1,
  ],
  [
    'heads beside channels',
    shrinking('ffn:32,heads', { keep: 0.9 }),
    (at: number) => shrinking(`ffn:32,heads:${at}`),
    1,
  ],
  ['blocks', blocks('block:8x8', { keep: 0.5 }), (at: number) => blocks(`block:8x8:${at}%`), 0.01],
  [
    'blocks of rows',
    blocks('block:8x8@row', { keep: 0.5 }, 'q8_0'),
    (at: number) => blocks(`block:8x8:${at}%@row`, {}, 'q8_0'),
    0.01,
  ],
] as const)('%s: the smallest amount whose files keep to a share of the bytes', async (_, recipe, amount, step) => {
  const { keep } = recipe.shrink ?? recipe.rules[0]!.prune!;
  const { report, bytes } = await written(recipe);
  const { shrink, rules } = recipe;
  const whole = await written({ version: 1, rules: [{ match: '*', role: 'linear', format: rules[0]!.format }] });
  const found = Number(
    /([\d.]+)(?:%|$)/.exec(
      amountIn(report.recipe)
        .split(shrink ? ',' : '@')
        .at(shrink ? -1 : 0)!
        .split(':')
        .at(-1)!,
    )![1],
  );
  expect(report.recipe).toEqual(amount(found));
  expect(bytes).toBeLessThanOrEqual(keep! * whole.bytes);
  if (found > step) {
    const less = Number((found - step).toFixed(2));
    expect((await written(amount(less))).bytes).toBeGreaterThan(keep! * whole.bytes);
  }
  expect(report.notices.join()).toContain(`${bytes} bytes of weights are left`);
});

test('bytes of a GGUF file are those that it has, and a budget may be a number of them', async () => {
  const whole = await written({ version: 1, rules: [{ match: '*', format: 'keep' }] }, 'gguf');
  const budget = Math.floor(whole.bytes * 0.77);
  const { report, bytes } = await written(shrinking('ffn', { keep: budget }), 'gguf');
  expect(bytes).toBeLessThanOrEqual(budget);
  const count = Number(report.recipe.shrink!.pattern.split(':')[1]);
  expect((await written(shrinking(`ffn:${count - 1}`), 'gguf')).bytes).toBeGreaterThan(budget);
});

test('what can be planned from headers is decided without a GPU; a budget of time says that it is not', async () => {
  const model = await modelFolder(settings);
  const plan = await planCompression(model.open(), { recipe: shrinking('ffn', { keep: 0.8 }) });
  expect(plan.notices.join()).toMatch(/The budget takes ffn:\d+: \d+ bytes of weights are left, (79\.\d\d|80\.00)%/);
  const timed = await planCompression(model.open(), { recipe: shrinking('ffn', { keep: 0.8, budget: 'time' }) });
  expect(timed.notices.join()).toContain('found by timing products on the device');
  // The least of blocks of 32.
  const recipe = shrinking('ffn', { keep: 0.8, budget: 'time' }, 'q4_0');
  const quantized = await planCompression(model.open(), { recipe });
  expect(quantized.tensors.find(({ name }) => name.endsWith('0.mlp.down_proj.weight'))!.shape).toEqual([64, 96]);
});

test.each([
  [shrinking('ffn', { keep: 0.01 }), ArgumentError, /can't be kept to: with ffn:127 \d+ bytes of weights are left/],
  [shrinking('ffn', { keep: 1e9 }), ArgumentError, /nothing has to go/],
  [
    blocks('block:8x8', { keep: 0.001, budget: 'time' }),
    ArgumentError,
    /with block:8x8:96\.875% products of a token take [\d.]+% of their time in dense weights/,
  ],
  [shrinking('ffn:10', { keep: 0.5 }), RecipeError, /not one that a budget/],
  [shrinking('ffn'), RecipeError, /says not how much goes/],
  [shrinking('ffn,heads', { keep: 0.5 }), RecipeError, /several structures/],
  [shrinking('ffn', { budget: 'time' }), RecipeError, /give "keep"/],
  [shrinking('ffn', { keep: 2, budget: 'time' }), RecipeError, /a share of the time above 0 and below 1/],
  [shrinking('ffn', { keep: 1.5 }), RecipeError, /or whole bytes/],
  [blocks('50%', { keep: 0.5, packed: false }), RecipeError, /Zeros that are not packed/],
  [blocks('2:4', { keep: 0.5 }), RecipeError, /not one that a budget/],
  [{ ...blocks('block:8x8', { keep: 0.5 }), shrink: { pattern: 'ffn', keep: 0.5 } }, RecipeError, /several budgets/],
] as const)('budget %#: refused, with what would work', async (recipe, kind, message) => {
  const model = await modelFolder(settings);
  const error = await prepare(model.open(), { recipe: recipe as Recipe, gpu }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(kind);
  expect((error as CompressaError).message).toMatch(message);
});

test('a budget of time in bare tensors, and one whose factors have no ranks yet, are refused', async () => {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  await compress(model.open(), output, { gpu, recipe: { version: 1, rules: [{ match: '*', format: 'keep' }] } });
  const bare = memorySource('bare.safetensors', output.files.get('model.safetensors')!);
  const timed = blocks('block:8x8', { keep: 0.7, budget: 'time' });
  await expect(prepare(bare, { recipe: timed, gpu })).rejects.toThrow(/a token takes no time in bare tensors/);
  const { shrink } = shrinking('ffn', { keep: 0.5 });
  const factored: Recipe = {
    version: 1,
    rules: [{ match: '*.q_proj.*', format: 'keep', factorize: { energy: 0.9 } }],
    ...(shrink && { shrink }),
  };
  await expect(prepare(model.open(), { recipe: factored })).rejects.toThrow(/how large factors are/);
});

test('a format that only what is left can have can not be compared with', async () => {
  const model = await modelFolder(smallConfig('Llama', { intermediate_size: 200 }));
  const plan = prepare(model.open(), { recipe: shrinking('ffn', { keep: 0.7 }, 'q4_0') });
  await expect(plan).rejects.toThrow(FormatError);
  await expect(plan).rejects.toThrow(/where nothing is removed, .*: give an amount/);
  const given = await prepare(model.open(), { recipe: shrinking('ffn:40', {}, 'q4_0') });
  await given.checkpoint.close();
});

test('a budget is kept to by an amount that goes in as many rounds as there are', async () => {
  const model = await modelFolder(settings);
  const calibration = { windows: [Uint32Array.from({ length: 16 }, (_, i) => i)] };
  const recipe = shrinking('ffn', { keep: 0.9999, score: 'wanda', rounds: 3 });
  const { notices } = await planCompression(model.open(), { recipe, calibration });
  const [, count] = /The budget takes ffn:(\d+):/.exec(notices.join())!;
  expect(Number(count)).toBeGreaterThanOrEqual(3);
  const given = shrinking(`ffn:${count}`, { score: 'wanda', rounds: 3 });
  await planCompression(model.open(), { recipe: given, calibration });
  const fewer = shrinking(`ffn:${Number(count) - 1}`, { score: 'wanda', rounds: 3 });
  await expect(planCompression(model.open(), { recipe: fewer, calibration })).rejects.toThrow(/can't go in 3 rounds/);
});

test.each([2, 4])('a budget on layers beside %d rounds, which are for channels: layers go at once', async (rounds) => {
  const model = await modelFolder(settings);
  const calibration = { windows: [Uint32Array.from({ length: 16 }, (_, i) => i)] };
  const recipe = shrinking('layers,ffn:25%', { keep: 0.95, score: 'wanda', rounds });
  const { notices } = await planCompression(model.open(), { recipe, calibration });
  expect(notices.join()).toContain('The budget takes layers:1,ffn:25%:');
});

test('a budget on layers of different widths is kept to, whichever stay', async () => {
  const model = await modelFolder({ ...settings, intermediate_size: [32, 256, 64, 512] });
  const whole = await compress(model.open(), memoryOutput(), {
    gpu,
    recipe: { version: 1, rules: [{ match: '*', format: 'keep' }] },
  });
  const removed = new Set<string>();
  for (const seed of [0, 1, 2, 3, 4, 5]) {
    const recipe = shrinking('layers', { keep: 0.7, score: 'random', seed });
    const report = await compress(model.open(), memoryOutput(), { gpu, recipe });
    expect(report.bytesAfter).toBeLessThanOrEqual(0.7 * whole.bytesAfter);
    removed.add(String(report.shrink![0]!.removed));
  }
  expect(removed.size).toBeGreaterThan(2);
});

test('a prediction adds up every product of a token once, at what its kind takes', async () => {
  const model = await modelFolder(settings);
  const recipe = shrinking('layers:1,ffn:25%', { score: 'random' }, 'q8_0');
  const prepared = await prepare(model.open(), { recipe });
  const [before, after] = [productsOf(await prepared.unpruned!())!, productsOf(prepared)!];
  const sizes = (products: typeof before) =>
    [...products.values()].flat().reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  // Seven matrices of each of four layers, and the head.
  expect(before.size).toBe(29);
  expect(after.size).toBe(22);
  const asked: string[] = [];
  const cost = ({ rows, columns }: Product) => rows * columns;
  const predicted = await predictTime(before, after, async (was, is) => {
    asked.push(`${productKey(was)}, ${is && productKey(is)}`);
    const taken = { before: cost(was), after: is ? cost(is) : 0 };
    return { ...taken, ratio: taken.before / taken.after, interval: [1.1, 2] };
  });
  expect(new Set(asked).size).toBe(asked.length);
  expect(predicted.milliseconds).toEqual({ before: sizes(before), after: sizes(after) });
  const names = predicted.products.flatMap(({ tensors }) => tensors).sort();
  expect(names).toEqual([...before.keys()].sort());
  for (const { before: was, after: is, ratio, pays } of predicted.products) {
    const changes = is !== null && was!.shape.join() !== is.shape.join();
    expect(ratio === null).toBe(!changes);
    expect(pays).toBe(changes ? true : null);
    expect(was!.format).toMatch(/q8_0|f32/);
  }
});

/** A model whose head is of a type that no kernel multiplies with. */
async function withWideHead(): Promise<() => ModelFiles> {
  const { graph, values } = await modelFolder(settings);
  const sink = memorySink();
  const specs = graph.weights.map(
    ({ name, shape, role }) => ({ name, shape, type: role === 'head' ? 'F64' : 'F32' }) as const,
  );
  const writer = await writeSafetensors(sink, specs);
  for (const { name, type } of specs) {
    const numbers = type === 'F64' ? Float64Array.from(values(name)) : values(name);
    await writer.write(name, new Uint8Array(numbers.buffer));
  }
  await writer.finish();
  const files = { 'config.json': JSON.stringify(settings), 'model.safetensors': sink.bytes() };
  return () => memoryFolder('wide', files);
}

test('a budget of time that can not be measured leaves nothing on the GPU', async () => {
  const open = await withWideHead();
  const before = gpu.memory.bytesInUse;
  const recipe = shrinking('ffn', { keep: 0.7, budget: 'time' });
  await expect(prepare(open(), { gpu, recipe })).rejects.toThrow(/no kernel multiplies with.*give a budget of bytes/);
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('a preview that can not predict a time says why', async () => {
  const open = await withWideHead();
  const typed = await previewPruning(open(), { gpu, recipe: shrinking('ffn:25%') });
  expect(typed.time).toBeUndefined();
  expect(typed.plan.notices.join()).toContain('No time is predicted: some matrices are of types');
  const model = await modelFolder(smallConfig('Llama', { intermediate_size: 200 }));
  const cut = await previewPruning(model.open(), { gpu, recipe: shrinking('ffn:40', {}, 'q4_0') });
  expect(cut.time).toBeUndefined();
  expect(cut.plan.notices.join()).toMatch(/No time is predicted, .*: .*no multiple of the block size 32/);
  // Less than random weights to time with.
  const small = await openGpu({ device: gpu.device, memoryBudget: 3 * 2 ** 20 });
  const full = await previewPruning(model.open(), { gpu: small, recipe: shrinking('ffn:25%') });
  expect(full.time).toBeUndefined();
  expect(full.plan.notices.join()).toMatch(/No time is predicted, .*the budget is 3145728 bytes/);
  expect(small.memory.bytesInUse).toBe(0);
});

test('a preview shows which channels and heads would go by magnitude, and says where another score decides', async () => {
  const model = await modelFolder(settings);
  const { shrink, plan } = await previewPruning(model.open(), { gpu, recipe: shrinking('ffn:25%,heads:1') });
  expect(plan.notices).toEqual([]);
  expect(shrink!.map(({ structure, layer }) => `${structure} ${layer}`)).toEqual(
    [0, 1, 2, 3].flatMap((layer) => [`heads ${layer}`, `ffn ${layer}`]),
  );
  const { importance, removed } = shrink![3]!;
  const down = model.values('model.layers.1.mlp.down_proj.weight');
  const squares = Array.from({ length: 128 }, (_, unit) =>
    down.reduce((sum, w, at) => sum + (at % 128 === unit ? w * w : 0), 0),
  );
  for (const [unit, value] of squares.entries()) expect(importance[unit]! / value).toBeCloseTo(1, 3);
  const least = [...squares.keys()].sort((a, b) => squares[a]! - squares[b]!).slice(0, 32);
  expect(removed).toEqual(least.sort((a, b) => a - b));
  const calibration = { windows: [Uint32Array.from({ length: 16 }, (_, i) => i)] };
  const scored = await previewPruning(model.open(), {
    ...{ gpu, calibration, recipe: shrinking('layers:1,ffn:25%', { score: 'obs' }) },
  });
  expect(scored.shrink).toHaveLength(3);
  expect(scored.plan.notices.join()).toContain(
    'What goes by obs shows when it runs: drawn is what would go by magnitude',
  );
  expect(scored.plan.notices.join()).toContain('Which layers go shows when it runs');
  const rule = { pattern: '50%', score: 'wanda' } as const;
  const masked = await previewPruning(model.open(), {
    ...{
      gpu,
      calibration,
      recipe: { version: 1, rules: [{ match: '*', role: 'linear', format: 'keep', prune: rule }] },
    },
  });
  expect(masked.plan.notices.join()).toContain('Masks are drawn by magnitude: wanda shows when it runs.');
});

test('a preview measures what it predicts on the device, and a budget of time is one of what it measures', async () => {
  const model = await modelFolder(settings);
  const { time, masks } = await previewPruning(model.open(), { gpu, recipe: blocks('block:8x8:75%') });
  expect(masks!.masks.length).toBeGreaterThan(0);
  const { milliseconds, products } = time!;
  const sum = (of: 'before' | 'after') =>
    products.reduce((all, { tensors, milliseconds: one }) => all + tensors.length * one[of], 0);
  expect(milliseconds.before).toBeCloseTo(sum('before'), 9);
  expect(milliseconds.after).toBeCloseTo(sum('after'), 9);
  const packed = products.filter(({ after }) => after!.format.includes('@block'));
  expect(packed.flatMap(({ tensors }) => tensors)).toHaveLength(28);
  for (const { ratio, interval, pays } of packed) {
    expect(ratio).toBeGreaterThan(0);
    expect(pays).toBe(interval![0] > 1);
  }
  // Without three of four layers a quarter of their products is left, whatever they take.
  const output = memoryOutput();
  const recipe = shrinking('layers', { keep: 0.999, budget: 'time', score: 'random' });
  const report = await compress(model.open(), output, { gpu, recipe });
  expect(report.recipe.shrink!.pattern).toBe('layers:1');
  expect(report.notices.join()).toMatch(
    /The budget takes layers:1: products of a token take [\d.]+% of their time \(measured; 99\.9%/,
  );
});
