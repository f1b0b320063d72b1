import { expect, test } from 'vitest';
import { FormatError, RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { Decoder } from '../../../src/graph/decoder.ts';
import type { VariantChoice } from '../../../src/graph/variant-choice.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { openModel } from '../../../src/model.ts';
import { compress } from '../../../src/passes/compress.ts';
import type { RecipeOptions } from '../../../src/passes/compress-options.ts';
import { factorize } from '../../../src/passes/factorize/factorize.ts';
import { loadWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { parseRecipe } from '../../../src/passes/recipe.ts';
import { checkWeight, findWeight, readValues } from '../../../src/passes/stored-weight.ts';
import { verify } from '../../../src/verify/verify.ts';
import { openBench } from '../layers/bench.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

const bench = openBench();
const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value ** 2, 0));

type Rule = Readonly<Record<string, unknown>>;

async function compressed(rule: Rule, options: RecipeOptions = {}, settings: object = smallConfig()) {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  const recipe = parseRecipe({ version: 1, rules: [{ match: '*', role: 'linear', ...rule }] });
  const report = await compress(model.open(), output, { gpu: bench.gpu, recipe, ...options });
  const open = () => memoryFolder('compressed', Object.fromEntries(output.files));
  const checkpoint = await openCheckpoint(open(), { checkWeight });
  /** What the matrix is, of its stored parts in f64. */
  const matrix = async (name: string) => {
    const read = async (part: string) => readValues(checkpoint, findWeight(checkpoint, `${name}.${part}`));
    const node = checkpoint.tree!.weights.get(name)!;
    const [rows, rank] = findWeight(checkpoint, `${name}.left`).shape as [number, number];
    const columns = findWeight(checkpoint, `${name}.right`).shape[1]!;
    const product = gemm(
      { values: await read('left'), width: rank },
      { values: await read('right'), width: columns },
      ...([rows, columns, rank] as const),
    );
    if (node.kind !== 'sum') return product;
    const base = await read('base');
    return product.map((value, i) => value + base[i]!);
  };
  return { model, report, output, open, checkpoint, matrix };
}

/** The logits of the last of some tokens: taken in all together, and alone behind the others. */
async function lastLogits(open: () => ModelFiles, tokens: Uint32Array) {
  const logits = async (...batches: Uint32Array[]) => {
    const model = await openModel(open(), { gpu: bench.gpu });
    try {
      let last: Float32Array | undefined;
      for (const batch of batches) {
        const { logits: view } = await model.decoder.forward(batch);
        last = new Float32Array((await bench.gpu.readBack(view.buffer, 0, view.size)).buffer);
      }
      return last!.slice(-101);
    } finally {
      await model.close();
    }
  };
  return { together: await logits(tokens), alone: await logits(tokens.subarray(0, -1), tokens.subarray(-1)) };
}

test('what a format has lost becomes factors: the model computes the sum, and loses less', async () => {
  const calibration = { windows: windowsOf(101) };
  const plain = await compressed({ format: 'int3-g32' }, { calibration });
  const { model, report, matrix, open, checkpoint } = await compressed(
    { format: 'int3-g32', factorize: { residual: true, rank: 6 } },
    { calibration },
  );
  const linear = report.tensors.filter(({ role }) => role === 'linear');
  expect(linear).toHaveLength(14);
  const sums = new Map<string, Float64Array>();
  for (const { name, shape, factors, bytesAfter } of linear) {
    const [rows, columns] = shape as [number, number];
    expect(factors).toMatchObject({ rank: 6, residual: true });
    expect(checkpoint.tree!.weights.get(name)).toMatchObject({
      kind: 'sum',
      terms: [
        { kind: 'quantized', format: 'int3-g32' },
        { kind: 'low-rank', rank: 6 },
      ],
    });
    expect(bytesAfter).toBe((rows * columns * 3.5) / 8 + 2 * 6 * (rows + columns));
    sums.set(name, await matrix(name));
  }
  // The inputs of the first group are the same in both.
  const first = 'model.layers.0.self_attn.q_proj.weight';
  const lost = (one: typeof plain) => {
    const { factors, error } = one.report.tensors.find(({ name }) => name === first)!;
    return factors?.error ?? error!.chosen;
  };
  expect(lost({ ...plain, report })).toBeLessThan(0.8 * lost(plain));
  // The model says what one does whose matrices are the sums, whether tokens come together or alone.
  const dense = await modelFolder(smallConfig(), (name, values) => {
    const sum = sums.get(name);
    if (sum) values.set(sum);
  });
  expect(model.graph.layers).toBe(2);
  const tokens = windowsOf(101)[0]!;
  const [mine, theirs] = [await lastLogits(open, tokens), await lastLogits(dense.open, tokens)];
  for (const how of ['together', 'alone'] as const) {
    // Three products instead of one, in f32, through two layers.
    const off = norm(mine[how].map((value, i) => value - theirs[how][i]!));
    expect(off, how).toBeLessThanOrEqual(2e-5 * norm(theirs[how]));
  }
  await Promise.all([plain.checkpoint.close(), checkpoint.close()]);
});

test('a token takes one launch more for each group of matrices with factors', async () => {
  // Sizes of which all rows start where a binding may.
  const settings = smallConfig('Llama', { num_key_value_heads: 4, intermediate_size: 128 });
  const { model, checkpoint } = await compressed(
    { format: 'int3-g32', factorize: { residual: true, rank: 32 } },
    {},
    settings,
  );
  const plain = await openCheckpoint(model.open());
  // Where threads share rows, as on GPUs; on CPUs other ways are faster, and the factors follow by themselves.
  const sharing: VariantChoice = { prepare: async () => {}, linear: () => 'vector-8', attention: () => undefined };
  const launched = async (of: typeof plain, tuner?: VariantChoice) => {
    const graph = modelGraph(of);
    const weights = await loadWeights(bench.gpu, of, graph);
    const decoder = new Decoder(bench.gpu, graph, weights, tuner && { tuner });
    try {
      const { steps, logits } = await decoder.forward([1]);
      return {
        steps: steps.length,
        logits: new Float32Array((await bench.gpu.readBack(logits.buffer, 0, 404)).buffer),
      };
    } finally {
      decoder.release();
      for (const weight of weights.values()) weight.release();
    }
  };
  const [mine, usual] = [await launched(checkpoint, sharing), await launched(checkpoint)];
  // Queries, keys and values; the output; gate and up; down: of two layers.
  expect(mine.steps - (await launched(plain)).steps).toBe(2 * 4);
  expect(norm(mine.logits.map((value, i) => value - usual.logits[i]!))).toBeLessThanOrEqual(2e-5 * norm(usual.logits));
  await Promise.all([checkpoint.close(), plain.close()]);
});

test('verify knows factored weights by the names of the original', async () => {
  const { model, checkpoint, matrix } = await compressed({
    format: 'int3-g32',
    factorize: { residual: true, rank: 16, factors: 'int8-g16' },
  });
  const original = await openCheckpoint(model.open());
  const tokens = new Uint16Array(windowsOf(101).flatMap((window) => [...window]));
  const how = { gpu: bench.gpu, tokens, windows: 2, window: 24, speed: false, spectra: {} } as const;
  const { size, accuracy, kernels, spectra } = await verify(original, checkpoint, how);
  expect(spectra).toHaveLength(14);
  for (const { rank, plain, whitened, shape } of spectra!) {
    expect([rank, whitened]).toEqual([16, null]);
    expect(plain.at(-1)).toMatchObject({ rank: Math.min(...shape) });
    expect(plain.at(-1)!.kept).toBeCloseTo(1, 4);
  }
  expect(size.unpaired).toEqual({ original: [], compressed: [] });
  expect(accuracy!.perplexity.compressed).toBeGreaterThan(0);
  expect(kernels!.maxRelativeError).toBeLessThan(1e-4);
  let [bytes, weights] = [0, 0];
  for (const { name, shape, format, compressed: stored, relativeError } of size.tensors) {
    if (!name.includes('_proj')) continue;
    expect(format).toBe('int3-g32 + int8-g16, rank 16');
    const exact = model.values(name);
    const sum = await matrix(name);
    const error = norm(sum.map((value, i) => value - exact[i]!)) / norm(exact);
    expect(Math.abs(relativeError! - error), name).toBeLessThanOrEqual(1e-5);
    const [rows, columns] = shape as [number, number];
    bytes += (rows * columns * 3.5 + 16 * (rows + columns) * 9) / 8;
    weights += rows * columns;
    expect(stored).toBe((rows * columns * 3.5 + 16 * (rows + columns) * 9) / 8);
  }
  // Norms are no matrices but count.
  expect(size.bitsPerWeight.withoutEmbeddings).toBeCloseTo((8 * bytes + 32 * 5 * 64) / (weights + 5 * 64), 6);
  await Promise.all([original.close(), checkpoint.close()]);
});

test('recipes factor, quantize factors, and make up for what pruning takes', async () => {
  const quantized = await compressed({ format: 'int8-g16', factorize: { keep: 0.7 } });
  for (const { name, shape, factors } of quantized.report.tensors.filter(({ role }) => role === 'linear')) {
    const [rows, columns] = shape as [number, number];
    // Whole groups of sixteen.
    expect(factors!.rank).toBe(16 * Math.max(1, Math.floor((0.7 * rows * columns) / (rows + columns) / 16)));
    expect(quantized.checkpoint.tree!.weights.get(name)).toMatchObject({
      ...{ kind: 'low-rank', left: { format: 'int8-g16' }, right: { format: 'int8-g16' } },
    });
  }
  const name = 'model.layers.1.mlp.up_proj.weight';
  const pruned = await compressed({
    format: 'keep',
    prune: { pattern: '50%' },
    factorize: { residual: true, rank: 8 },
  });
  const base = await readValues(pruned.checkpoint, findWeight(pruned.checkpoint, `${name}.base`));
  expect(base.filter((value) => value === 0).length).toBe(base.length / 2);
  const exact = pruned.model.values(name);
  const before = norm(base.map((value, i) => value - exact[i]!));
  expect(norm((await pruned.matrix(name)).map((value, i) => value - exact[i]!))).toBeLessThan(before);
  expect(pruned.report.tensors.find((tensor) => tensor.name === name)!.prune!.sparsity).toBe(0.5);
  // A rank that does not pay leaves the matrix to the format.
  const whole = await compressed({ format: 'int4-g32', factorize: { rank: 64 } });
  expect(whole.checkpoint.tree!.weights.get(name)).toMatchObject({ kind: 'quantized', format: 'int4-g32' });
  expect(whole.report.tensors.find((tensor) => tensor.name === name)!.factors!.rank).toBeNull();
  expect(whole.report.notices.join()).toContain('would have as many parameters');
  for (const { checkpoint } of [quantized, pruned, whole]) await checkpoint.close();
});

test('rules that make no sense are refused', async () => {
  const refused = async (rule: Rule) => compressed(rule).catch((error: unknown) => error);
  const messages: [Rule, string][] = [
    [{ format: 'keep', factorize: {} }, 'Give one of keep, rank and energy'],
    [{ format: 'keep', factorize: { rank: 4, keep: 0.5 } }, 'Give one of keep, rank and energy'],
    [{ format: 'keep', factorize: { residual: true } }, 'what a format, or pruning, has lost'],
    [{ format: 'int3-g32', factorize: { residual: true, energy: 0.5 } }, 'a residual takes a rank'],
    [{ format: 'keep', prune: { pattern: '2:4' }, factorize: { rank: 4 } }, 'make it a residual'],
    [{ format: 'int4-g32', method: 'awq', factorize: { residual: true } }, 'moves factors of inputs'],
    [{ format: 'int4-g32', method: 'gptq', factorize: { rank: 16 } }, 'codes of factors'],
    [{ format: 'keep', factorize: { rang: 4 } }, 'Did you mean "rank"'],
  ];
  for (const [rule, message] of messages) {
    const error = await refused(rule);
    expect(error, message).toBeInstanceOf(RecipeError);
    expect((error as Error).message).toContain(message);
  }
  expect(await refused({ format: 'int3-g32', factorize: { residual: true, factors: 'nf4' } })).toBeInstanceOf(
    FormatError,
  );
  // Rows of the left factor are as long as the rank.
  expect(await refused({ format: 'int4-g32', factorize: { rank: 12 } })).toBeInstanceOf(FormatError);
  const { open } = await modelFolder(smallConfig());
  const recipe = parseRecipe({
    version: 1,
    rules: [{ match: '*', role: 'linear', format: 'keep', factorize: { rank: 4 } }],
  });
  const gguf = compress(open(), memorySink('out.gguf'), { gpu: bench.gpu, recipe });
  await expect(gguf).rejects.toThrow(FormatError);
  const residual = factorize(open(), memoryOutput(), { gpu: bench.gpu, residual: true });
  await expect(residual).rejects.toThrow(/name one/);
});
