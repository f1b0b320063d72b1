import { expect, test } from 'vitest';
import { FileError, FormatError, RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { blocksFormat } from '../../../src/formats/blocks.ts';
import { packedFormat } from '../../../src/formats/packed.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { openModel } from '../../../src/model.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { keptBlocks } from '../../../src/passes/pruning/plan-pruning.ts';
import { type PruneRule, parsePattern } from '../../../src/passes/pruning/pruning.ts';
import type { Recipe, Rule } from '../../../src/passes/recipe.ts';
import { checkWeight, findWeight } from '../../../src/passes/stored-weight.ts';
import { linearNames } from '../../../src/tuner/linear-work.ts';
import { memoryTuningStore } from '../../../src/tuner/store.ts';
import { Tuner } from '../../../src/tuner/tuner.ts';
import { measurePatterns } from '../../../src/verify/pattern-speed.ts';
import { reportMarkdown } from '../../../src/verify/report.ts';
import { verify } from '../../../src/verify/verify.ts';
import { openBench } from '../layers/bench.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

const bench = openBench();
const settings = smallConfig('Llama', { num_hidden_layers: 3 });
const windows = windowsOf(101);
const PATTERNS = ['2:4', '4:8', '1:4x8', '3:5', '2:4x16', '50%', 'block:16x16:50%'];
/** Of blocks: of the same size, that do not divide a matrix, of a number, of rows that end within one. */
const BLOCKS = ['block:16x16:50%', 'block:20x12:40%', 'block:16x32:3', 'block:1x8:75%@row'];
const FORMATS = ['q8_0', 'q4_0', 'int4'];

const isPacked = (pattern: string) => /^(\d+|block):/.test(pattern);

/** Each matrix of three layers in a combination of its own: all there are. */
async function combined() {
  const { graph } = await modelFolder(settings);
  const linear = graph.weights.filter(({ role }) => role === 'linear');
  expect(linear).toHaveLength(PATTERNS.length * FORMATS.length);
  const rules = linear.map(({ name }, i): Rule => {
    const pattern = PATTERNS[i % PATTERNS.length]!;
    return {
      match: name,
      format: FORMATS[Math.floor(i / PATTERNS.length)]!,
      method: 'rtn',
      prune: { pattern, ...(isPacked(pattern) && { packed: true }) },
    };
  });
  return { linear, recipe: { version: 1, rules } satisfies Recipe };
}

/** Writes a model by a recipe, and opens it. */
async function written(recipe: Recipe, options: object = {}) {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  const report = await compress(model.open(), output, { gpu: bench.gpu, recipe, ...options });
  const open = () => memoryFolder('packed', Object.fromEntries(output.files));
  const checkpoint = await openCheckpoint(open(), { checkWeight });
  const values = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
  return { model, output, report, open, checkpoint, values };
}

const everything = (prune: PruneRule, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format, ...(format !== 'keep' && { method: 'rtn' }), prune }],
});

test('every pattern in every format: what is stored is what the pattern leaves, and the model runs and is verified', async () => {
  const { linear, recipe } = await combined();
  const { model, report, open, checkpoint, values } = await written(recipe);
  for (const [i, { name, shape }] of linear.entries()) {
    const [rows, k] = shape as [number, number];
    const { prune, format: wanted } = recipe.rules[i]!;
    const stored = findWeight(checkpoint, name);
    const pattern = parsePattern(prune!.pattern);
    const format = formatByName(wanted);
    const size = report.tensors.find((tensor) => tensor.name === name)!;
    if (!prune!.packed) {
      expect(stored).toMatchObject({ kind: 'quantized', format: { name: format.name } });
      continue;
    }
    if (pattern.kind === 'ranked') {
      const kept = keptBlocks(pattern, rows, k, name);
      const packed = blocksFormat(format, { block: pattern, rows, k, kept });
      expect(stored).toMatchObject({ kind: 'quantized', format: { name: packed.name }, shape });
      expect(checkpoint.tree!.weights.get(name)).toMatchObject({
        ...{ kind: 'block-sparse', block: [pattern.rows, pattern.columns], shape },
      });
      const host = packed.reference.quantize(model.values(name), rows, k, { method: 'rtn' });
      expect(values(name), name).toEqual(packed.reference.dequantize(host, rows, k));
      continue;
    }
    const packed = packedFormat(format, pattern);
    expect(stored).toMatchObject({ kind: 'quantized', format: { name: packed.name }, shape });
    const node = checkpoint.tree!.weights.get(name);
    expect(node).toMatchObject({ kind: 'nm', n: pattern.keep, m: pattern.of, vector: pattern.rows ?? 1 });
    expect(size).toMatchObject({ format: packed.name, prune: { pattern: prune!.pattern } });
    const host = packed.reference.quantize(model.values(name), rows, k, { method: 'rtn' });
    expect(values(name), name).toEqual(packed.reference.dequantize(host, rows, k));
    expect(values(name).filter((w) => w !== 0).length).toBeLessThanOrEqual(
      rows * Math.ceil(k / pattern.of) * pattern.keep,
    );
  }
  const graph = modelGraph(checkpoint);
  const running = await openModel(open(), { gpu: bench.gpu });
  const [tokens] = windows;
  const reference = new ReferenceRun(graph, values);
  const wanted = [reference.forward([...tokens!.subarray(0, 23)]), reference.forward([tokens![23]!])];
  const { vocabulary } = graph;
  // A prompt, and a token behind it: products of many columns and of one.
  for (const [i, some] of [tokens!.subarray(0, 23), tokens!.subarray(23)].entries()) {
    const { logits } = await running.decoder.forward(some);
    const got = new Float32Array((await bench.gpu.readBack(logits.buffer, 0, 4 * vocabulary * some.length)).buffer);
    const largest = Math.max(...wanted[i]!.map(Math.abs));
    const worst = Math.max(...wanted[i]!.map((value, at) => Math.abs(got[at]! - value)));
    // f32 sums through three layers.
    expect(worst / largest).toBeLessThan(2e-5);
  }
  await running.close();
  const original = await openCheckpoint(model.open());
  const found = await verify(original, checkpoint, {
    ...{ gpu: bench.gpu, tokens: new Uint16Array(windows.flatMap((window) => [...window])) },
    ...{ windows: 4, window: 24, speed: false },
  });
  expect(found.kernels!.maxRelativeError).toBeLessThan(2e-5);
  expect(found.kernels!.nonFinite).toEqual([]);
  expect(found.accuracy!.perplexity.compressed).toBeGreaterThan(0);
  const formats = found.size.tensors.map(({ format }) => format);
  expect(formats).toContain('q4_0@2:4x16');
  expect(formats).toContain('int4-g32@block:16x16:50%');
  expect(found.size.compressed).toBeLessThan(0.5 * found.size.original);
  await Promise.all([original.close(), checkpoint.close()]);
});

test('packed values in f32 are those of the same run with zeros, also where they are repaired', async () => {
  for (const prune of [
    { pattern: '2:4' },
    { pattern: '4:8x4', score: 'obs', repair: 'obs' },
    ...BLOCKS.map((pattern) => ({ pattern })),
    { pattern: 'block:16x16:50%', score: 'obs', repair: 'obs' },
  ] as const) {
    const options = 'score' in prune ? { calibration: { windows } } : {};
    const zeros = await written(everything(prune), options);
    const packed = await written(everything({ ...prune, packed: true }), options);
    for (const { name, role } of packed.model.graph.weights) {
      const [mine, theirs] = [packed.values(name), zeros.values(name)];
      if (!('score' in prune)) expect(mine.map((w) => w + 0)).toEqual(theirs.map((w) => w + 0));
      // Later matrices see inputs that packed products made: sums in another order.
      else if (role === 'linear') expect(distance(mine, theirs), name).toBeLessThan(0.02);
    }
    const [small, large] = [packed, zeros].map(({ report }) => report.bytesAfter);
    expect(small).toBeLessThan(large!);
  }
});

const distance = (a: Float32Array, b: Float32Array) =>
  Math.sqrt(a.reduce((sum, w, i) => sum + (w - b[i]!) ** 2, 0) / b.reduce((sum, w) => sum + w * w, 0));

test('a packed model is copied as it is, and written with zeros for others', async () => {
  for (const pattern of ['2:4', 'block:20x12:40%']) await copied(pattern);
});

async function copied(pattern: string) {
  const recipe = everything({ pattern, packed: true }, 'q8_0');
  const { output, open, values, model } = await written(recipe);
  const copy = memoryOutput();
  await compress(open(), copy, { gpu: bench.gpu, format: 'keep' });
  expect([...copy.files]).toEqual([...output.files]);
  const linear = model.graph.weights.filter(({ role }) => role === 'linear');
  const dense = memoryOutput();
  const gguf = memorySink('dense.gguf');
  await compress(open(), dense, { gpu: bench.gpu, format: 'keep', unpack: true });
  await compress(open(), gguf, { gpu: bench.gpu, format: 'keep' });
  for (const source of [
    memoryFolder('dense', Object.fromEntries(dense.files)),
    memorySource('dense.gguf', gguf.bytes()),
  ]) {
    const checkpoint = await openCheckpoint(source, { checkWeight });
    expect(checkpoint.tree?.weights.size ?? 0).toBe(0);
    const found = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
    for (const { name } of linear) expect(found(name)).toEqual(values(name));
    await checkpoint.close();
  }
}

test('blocks of a matrix that is taken in slices are those of the whole', async () => {
  // 32 or 24 rows of 64 columns, 24 of 96.
  const narrow = await openGpu({ device: bench.gpu.device, bindingLimit: 24 * 96 * 4 });
  for (const pattern of ['block:8x16:50%', 'block:1x8:75%@row', 'block:24x4:40%']) {
    const recipe = everything({ pattern, packed: true }, 'q8_0');
    const [whole, sliced] = [await written(recipe), await written(recipe, { gpu: narrow })];
    expect([...sliced.output.files]).toEqual([...whole.output.files]);
  }
  const tall = everything({ pattern: 'block:64x16:50%', packed: true }, 'q8_0');
  await expect(written(tall, { gpu: narrow })).rejects.toThrow(
    /this device reads at most 9216 at once.*fewer rows than 64/,
  );
});

test('blocks are quantized by methods that search for scales', async () => {
  const { rules } = everything({ pattern: 'block:16x16:50%', packed: true }, 'q4_0');
  const recipe = { version: 1 as const, rules: rules.map((rule) => ({ ...rule, method: 'search' as const })) };
  const { model, report, checkpoint } = await written(recipe);
  for (const { name, role } of model.graph.weights) {
    if (role !== 'linear') continue;
    expect(findWeight(checkpoint, name)).toMatchObject({ format: { name: 'q4_0@block:16x16:50%' } });
    const { error } = report.tensors.find((tensor) => tensor.name === name)!;
    expect(error!.chosen).toBeLessThan(error!.rtn);
  }
});

test('what can not be packed is refused before anything is written', async () => {
  const model = await modelFolder(settings);
  const plan = (prune: PruneRule, format?: string, more: object = {}) =>
    planCompression(model.open(), { recipe: everything({ packed: true, ...prune }, format), ...more });
  await expect(plan({ pattern: '50%' })).rejects.toThrow(RecipeError);
  await expect(plan({ pattern: 'block:8x8:50%@model' })).rejects.toThrow(
    'blocks of a row or layer, such as block:32x32',
  );
  await expect(plan({ pattern: 'block:8x8:50%', layers: 'owl' })).rejects.toThrow('leave "packed" out, or "layers"');
  await expect(plan({ pattern: 'block:8x8:50%' }, 'int4-row')).rejects.toThrow("can't have values in int4-row");
  const embedding = { ...everything({ pattern: 'block:8x8:50%', packed: true }).rules[0]!, role: 'embedding' as const };
  await expect(planCompression(model.open(), { recipe: { version: 1, rules: [embedding] } })).rejects.toThrow(
    'is read a few rows at a time, which blocks',
  );
  // A rule without a role takes the embedding as well.
  const all = { version: 1 as const, rules: [{ match: '*', format: 'q8_0', prune: { pattern: '2:4', packed: true } }] };
  await expect(planCompression(model.open(), { recipe: all })).rejects.toThrow(
    'is read a few rows at a time, which weights that are packed are not',
  );
  // Blocks of 8 x 8 are filled up to 256, with zeros.
  await expect(plan({ pattern: 'block:8x8:50%' }, 'q4_k')).rejects.toThrow('filled up with zeros');
  await expect(plan({ pattern: 'block:8x8:50%' }, 'q8_0', { output: 'gguf' })).rejects.toThrow(
    'GGUF has no tensors for',
  );
  await expect(plan({ pattern: '2:4x3' }, 'q8_0')).rejects.toThrow('1, 4, 8, 16 rows can');
  await expect(plan({ pattern: '2:4' }, 'int4-row')).rejects.toThrow("can't have values in int4-row");
  // Rows of 64 in groups of 5: slots that no weight fills, which a minimum above 0 can't store.
  await expect(plan({ pattern: '3:5' }, 'q4_1')).rejects.toThrow(FormatError);
  await expect(plan({ pattern: '3:5' }, 'q4_0')).resolves.toBeDefined();
  await expect(plan({ pattern: '2:4' }, 'q8_0', { output: 'gguf' })).rejects.toThrow('GGUF has no tensors for');
});

test('a verification says of every packed matrix whether it pays', async () => {
  const { model, checkpoint } = await written(everything({ pattern: '2:4', packed: true }, 'q4_0'));
  const original = await openCheckpoint(model.open());
  const report = await verify(original, checkpoint, {
    ...{ gpu: bench.gpu, tokens: new Uint16Array(windows.flatMap((window) => [...window])), windows: 1, window: 24 },
    speed: { rounds: 1, prefillTokens: 8, decodeTokens: 2, stack: false },
  });
  const linear = model.graph.weights.filter(({ role }) => role === 'linear').map(({ name }) => name);
  for (const tokens of [1, 16, 64]) {
    const of = report.speed!.patterns!.filter((pattern) => pattern.tokens === tokens);
    if (of.length > 0) expect(of.flatMap(({ tensors }) => tensors).sort()).toEqual(linear.sort());
  }
  expect(new Set(report.speed!.patterns!.map(({ tokens }) => tokens)).size).toBe(2);
  expect(reportMarkdown(report)).toMatch(/## Packed weights\n\n- .*q4_0@2:4.*pay/);
  await Promise.all([original.close(), checkpoint.close()]);
});

test('what packed weights buy is measured for each format, and tuned as other products are', async () => {
  for (const pattern of ['2:4', 'block:16x16:50%']) {
    const { checkpoint, model } = await written(everything({ pattern, packed: true }, 'q8_0'));
    const linear = model.graph.weights.filter(({ role }) => role === 'linear');
    const patterns = await measurePatterns(
      bench.gpu,
      linear.map(({ name }) => ({ name, compressed: findWeight(checkpoint, name) })),
    );
    const sizes = new Set(linear.map(({ shape }) => String(shape)));
    expect(patterns).toHaveLength(2 * sizes.size);
    for (const { format, dense, tensors, rows, columns, ratio, interval, pays } of patterns) {
      expect({ format, dense }).toEqual({ format: `q8_0@${pattern}`, dense: 'q8_0' });
      const alike = linear.filter(({ shape }) => String(shape) === String([rows, columns]));
      expect(tensors).toEqual(alike.map(({ name }) => name));
      expect(ratio).toBeGreaterThan(0);
      expect(pays).toBe(interval[0] > 1);
    }
    await checkpoint.close();
  }
  const q8 = formatByName('q8_0');
  for (const format of [
    packedFormat(q8, { kind: 'n:m', keep: 2, of: 4 }),
    blocksFormat(q8, { block: { rows: 16, columns: 16 }, rows: 64, k: 256, kept: 20 }),
  ]) {
    const need = { kind: 'linear', format, rows: 64, k: 256, tokens: 1 } as const;
    const tuner = new Tuner(bench.gpu, { mode: 'quick', store: memoryTuningStore() });
    await tuner.prepare([need]);
    expect(linearNames(bench.gpu, need)).toContain(tuner.linear(need));
  }
});

test('a file whose columns lie outside their groups is refused where it is read', async () => {
  const { output, checkpoint } = await written(everything({ pattern: '3:5', packed: true }, 'q8_0'));
  const name = 'model.layers.1.mlp.up_proj.weight';
  const { offset } = checkpoint.tensors.get(`${name}.columns`)!;
  const damaged = output.files.get('model.safetensors')!.slice();
  const start = damaged.length - Math.max(...[...checkpoint.tensors.values()].map((t) => t.offset + t.byteLength));
  expect(start).toBe(0);
  damaged[offset] = 0xff;
  const files = { ...Object.fromEntries(output.files), 'model.safetensors': damaged };
  const opening = openModel(memoryFolder('damaged', files), { gpu: bench.gpu });
  await expect(opening).rejects.toThrow(FileError);
  await expect(opening).rejects.toThrow(/names a column outside its group of 5/);
  await checkpoint.close();
});

test('a file whose lists are none of blocks of the matrix is refused where it is read', async () => {
  const { output, checkpoint } = await written(everything({ pattern: 'block:16x16:50%', packed: true }, 'q8_0'));
  const { offset, byteLength } = checkpoint.tensors.get('model.layers.1.mlp.up_proj.weight.lists')!;
  for (const [at, value, message] of [
    [0, 99, /does not have each of 6 once/],
    [4 * 6, 5, /do not ascend from 0/],
    [byteLength - 4, 77, /do not ascend below column 4/],
  ] as const) {
    const damaged = output.files.get('model.safetensors')!.slice();
    damaged[offset + at] = value;
    const files = { ...Object.fromEntries(output.files), 'model.safetensors': damaged };
    const opening = openModel(memoryFolder('damaged', files), { gpu: bench.gpu });
    await expect(opening).rejects.toThrow(FileError);
    await expect(opening).rejects.toThrow(message);
  }
  await checkpoint.close();
});
