import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, ModelError, RecipeError } from '../../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { openModel } from '../../../src/model.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { countsAround } from '../../../src/passes/shrinking/spread-channels.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { verify } from '../../../src/verify/verify.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const LAYERS = 4;
const windows = windowsOf(101);
const settings = smallConfig('Llama', { num_hidden_layers: LAYERS });
const recipeOf = (shrink: ShrinkRule | undefined, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format }],
  ...(shrink && { shrink }),
});
const SPREAD = { score: 'obs', repair: 'refit', layers: 'sensitivity' } as const;

/** A model whose later layers have channels that all count alike, and whose first ones have many that hardly count. */
const uneven = () =>
  modelFolder(settings, (name, values) => {
    const layer = Number(/layers\.(\d)/.exec(name)?.[1] ?? LAYERS);
    if (!name.endsWith('down_proj.weight') || layer >= 2) return;
    for (const at of values.keys()) if (at % 96 >= 40) values[at]! *= 0.02;
  });

type Files = Record<string, string | Uint8Array>;

async function written(source: Parameters<typeof compress>[0], recipe: Recipe) {
  const output = memoryOutput();
  const report = await compress(source, output, { gpu, recipe, calibration: { windows } });
  const files = Object.fromEntries(output.files) as Files;
  return { report, files, ...(await opened(files)) };
}

async function opened(
  files: Files,
): Promise<{ checkpoint: Checkpoint; graph: Graph; values: (name: string) => Float32Array }> {
  const checkpoint = await openCheckpoint(memoryFolder('own', files), { checkWeight });
  const graph = modelGraph(checkpoint);
  return { checkpoint, graph, values: await dequantizedWeights(checkpoint, graph) };
}

const widthsOf = (graph: Graph) =>
  Array.from({ length: graph.layers }, (_, layer) => graph.values[`layers.${layer}.activated`]!);
const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);

test('layers that lose less give more channels, all together exactly as many as alike, and the errors add up to less', async () => {
  const model = await uneven();
  const { report, checkpoint, graph } = await written(model.open(), recipeOf({ pattern: 'ffn:50%', ...SPREAD }));
  const widths = widthsOf(graph);
  expect(sum(widths)).toBe(LAYERS * 48);
  for (const width of widths.slice(0, 2)) expect(width).toBeLessThan(48);
  for (const width of widths.slice(2)) expect(width).toBeGreaterThan(48);
  expect(checkpoint.config).toMatchObject({ intermediate_size: widths });
  expect(report.shrink!.map(({ removed }) => 96 - removed.length)).toEqual(widths);
  const plan = await planCompression(model.open(), {
    recipe: recipeOf({ pattern: 'ffn:50%', ...SPREAD }),
    calibration: { windows },
  });
  expect(report.bytesAfter).toBe(plan.bytesAfter);
  for (const { notices } of [report, plan])
    expect(notices).toEqual([expect.stringMatching(/^Layers have FFNs of their own width/)]);
  const alike = await written(model.open(), recipeOf({ pattern: 'ffn:50%', score: 'obs', repair: 'refit' }));
  expect(alike.checkpoint.config).toMatchObject({ intermediate_size: 48 });
  expect(alike.report.bytesAfter).toBe(report.bytesAfter);
  const errors = (of: typeof report) => sum(of.shrink!.map(({ error }) => error!));
  expect(errors(report)).toBeLessThan(errors(alike.report));
});

test('what is written is the same each time; it runs as the f64 reference says, verifies, and can be compressed and shrunk again', async () => {
  const model = await uneven();
  const rule: ShrinkRule = { pattern: 'heads:1,layers:1,ffn:48', ...SPREAD };
  const { files, checkpoint, graph, values, report } = await written(model.open(), recipeOf(rule, 'int4-g16'));
  const widths = widthsOf(graph);
  expect(widths).toHaveLength(3);
  expect(sum(widths)).toBe(3 * 48);
  expect(new Set(widths).size).toBeGreaterThan(1);
  // Whole groups.
  for (const width of widths) expect(width % 16).toBe(0);
  expect(report.tensors.filter(({ format }) => format === 'int4-g16')).toHaveLength(3 * 7);
  expect((await written(model.open(), recipeOf(rule, 'int4-g16'))).files).toEqual(files);
  const tokens = [...windows[0]!];
  const wanted = new ReferenceRun(graph, values).forward(tokens);
  const running = await openModel(memoryFolder('own', files), { gpu });
  try {
    const { logits } = await running.decoder.forward(tokens);
    const made = new Float32Array((await gpu.readBack(logits.buffer, 0, logits.size)).buffer);
    const most = Math.max(...wanted.map(Math.abs));
    expect(made).toHaveLength(wanted.length);
    // f32 sums of 64 products over three layers, beside f64.
    for (const [i, logit] of made.entries()) expect(Math.abs(logit - wanted[i]!)).toBeLessThan(1e-4 * most);
  } finally {
    await running.close();
  }
  const original = await openCheckpoint(model.open(), { checkWeight });
  const { accuracy } = await verify(original, checkpoint, {
    gpu,
    tokens: windows.flatMap((window) => [...window]),
    window: 24,
    speed: false,
  });
  expect(Number.isFinite(accuracy!.perplexity.compressed)).toBe(true);
  // Dense ones, whose widths differ already.
  const dense = await written(model.open(), recipeOf({ pattern: 'ffn:50%', ...SPREAD }));
  const before = widthsOf(dense.graph);
  const again = await written(memoryFolder('own', dense.files), recipeOf({ pattern: 'ffn:25%' }));
  expect(widthsOf(again.graph)).toEqual(before.map((width) => width - Math.floor(width / 4)));
  const spread = await written(memoryFolder('own', dense.files), recipeOf({ pattern: 'layers:1,ffn:8', ...SPREAD }));
  const [gone] = spread.report.shrink!;
  expect(sum(widthsOf(spread.graph))).toBe(sum(before.filter((_, layer) => layer !== gone!.removed[0])) - 3 * 8);
  const quantized = await written(memoryFolder('own', dense.files), recipeOf(undefined, 'int4-g16'));
  expect(widthsOf(quantized.graph)).toEqual(before);
});

test('the numbers that are tried lie around that of all layers, in whole steps, and leave something', () => {
  for (const [left, units, step] of [
    [48, 96, 1],
    [64, 96, 32],
    [32, 96, 32],
    [1, 2, 1],
    [71, 96, 1],
    [96, 100, 32],
    [1, 1000, 1],
    [999, 1000, 1],
    [1024, 14336, 256],
  ] as const) {
    const counts = countsAround(left, units, step);
    expect(counts).toContain(left);
    expect(counts).toEqual([...new Set(counts)].sort((a, b) => b - a));
    for (const count of counts) {
      expect((count - left) % step).toBeCloseTo(0, 12);
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThan(units);
    }
  }
});

test('what knows one width for all layers is refused, with what would work', async () => {
  const model = await uneven();
  const spread = recipeOf({ pattern: 'ffn:50%', ...SPREAD }, 'int4-g16');
  const calibration = { windows };
  const plan = (more: object) => planCompression(model.open(), { recipe: spread, calibration, ...more });
  await expect(plan({ output: 'gguf' })).rejects.toThrow(ArgumentError);
  await expect(plan({ output: 'gguf' })).rejects.toThrow(
    /GGUF has one for all: leave the spread over layers out \(uniform\), so that each loses "ffn:50%"/,
  );
  await expect(plan({ container: 'compressed-tensors' })).rejects.toThrow(/compressed-tensors has one for all/);
  await expect(plan({ unpack: true })).rejects.toThrow(/other programs/);
  const { files } = await written(model.open(), recipeOf({ pattern: 'ffn:50%', ...SPREAD }));
  const sink = memorySink();
  const again = compress(memoryFolder('own', files), sink, { gpu, format: 'q8_0', output: 'gguf' });
  await expect(again).rejects.toThrow(
    /own: its layers have \d+ to \d+ FFN channels .* to 48 channels each for the same size/,
  );
});

test('what can not be spread is refused by name', async () => {
  const model = await modelFolder(settings);
  const plan = (shrink: ShrinkRule, calibration: object = { calibration: { windows } }) =>
    planCompression(model.open(), { recipe: recipeOf(shrink), ...calibration });
  await expect(plan({ pattern: 'heads:1', layers: 'sensitivity' })).rejects.toThrow(RecipeError);
  await expect(plan({ pattern: 'heads:1', layers: 'sensitivity' })).rejects.toThrow(
    /"heads:1" has none: leave "layers" out/,
  );
  await expect(plan({ pattern: 'ffn:1', score: 'random', layers: 'sensitivity' })).rejects.toThrow(/at random/);
  await expect(plan({ pattern: 'ffn:1', layers: 'sensitivity' }, {})).rejects.toThrow(
    /The spread over layers \(sensitivity\) needs a calibration text/,
  );
  await expect(plan({ pattern: 'ffn:96', ...SPREAD })).rejects.toThrow(/give ffn:1 to ffn:95/);
  const config = (intermediate_size: unknown) => () => graphOf({ ...settings, intermediate_size }, 'config.json');
  expect(config([96, 96])).toThrow(ModelError);
  expect(config([96, 96])).toThrow('intermediate_size has 2 entries for num_hidden_layers 4');
  expect(config([96, 96, 0, 96])).toThrow('intermediate_size.2 must be a whole number from 1 to');
  expect(config([96, '96', 96, 96])).toThrow('intermediate_size.1 must be');
  expect(config({})).toThrow('intermediate_size must be');
});
