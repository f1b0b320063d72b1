import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, NonFiniteError, RecipeError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import type { MaskPattern } from '../../../src/kernels/mask-pattern.ts';
import { type HostMatrix, selectMasks } from '../../../src/kernels/reference/select-mask.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import type { Method } from '../../../src/passes/methods/method.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { knowsInputs, type PruneRule, parsePattern, pruningOf } from '../../../src/passes/pruning/pruning.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import type { TimelineSpan } from '../../../src/passes/timeline.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const recipeOf = (prune: PruneRule, format = 'keep', method?: Method): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format, prune, ...(method && { method }) }],
});

const windows = windowsOf(101);

/** Values of the weights of a pruned model, and what the report says. */
async function pruned(
  prune: PruneRule,
  format = 'keep',
  on = gpu,
  change?: Parameters<typeof modelFolder>[1],
  method?: Method,
  spans?: TimelineSpan[],
) {
  const model = await modelFolder(smallConfig(), change);
  const output = memoryOutput();
  const calibrated = method === 'gptq' || knowsInputs(pruningOf(prune));
  const report = await compress(model.open(), output, {
    ...{ gpu: on, recipe: recipeOf(prune, format, method) },
    ...(calibrated && { calibration: { windows } }),
    onTimeline: (span) => spans?.push(span),
  });
  const checkpoint = await openCheckpoint(memoryFolder('pruned', Object.fromEntries(output.files)), { checkWeight });
  const values = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
  const linear = model.graph.weights.filter(({ role }) => role === 'linear');
  return { model, values, report, linear, files: output.files };
}

type Linear = Awaited<ReturnType<typeof pruned>>['linear'];

const matricesOf = (linear: Linear, values: (name: string) => Float32Array): HostMatrix[] =>
  linear.map(({ name, shape }) => ({ weights: values(name), rows: shape[0]!, k: shape[1]! }));

const bitOf = (mask: Uint32Array, k: number, at: number): boolean => {
  const [row, column] = [Math.floor(at / k), at % k];
  return ((mask[row * Math.ceil(k / 32) + (column >> 5)]! >>> (column & 31)) & 1) === 1;
};

test.each(['2:4', '3:5', '1:4x8', '50%', '30%@row', '100@model', '40%@model', 'block:16x16:50%', 'block:1x8:75%@row'])(
  '%s: weights outside the mask are zeros, the others and all other tensors as they were',
  async (text) => {
    const { model, values, report, linear } = await pruned({ pattern: text });
    const masks = selectMasks(matricesOf(linear, model.values), parsePattern(text));
    for (const [i, { name, shape }] of linear.entries()) {
      const k = shape[1]!;
      const wanted = model.values(name).map((w, at) => (bitOf(masks[i]!, k, at) ? w : 0));
      expect(values(name).map((w) => w + 0)).toEqual(wanted);
      const zeros = wanted.filter((w) => w === 0).length / wanted.length;
      expect(report.tensors.find((tensor) => tensor.name === name)?.prune).toMatchObject({
        ...{ pattern: text, score: 'magnitude', repair: 'none' },
        sparsity: expect.closeTo(zeros, 12),
      });
    }
    for (const { name, role } of model.graph.weights) {
      if (role !== 'linear') expect(values(name)).toEqual(model.values(name));
    }
  },
);

test.each(['magnitude', 'wanda'] as const)('a timeline tells of matrices that are pruned: %s', async (score) => {
  const spans: TimelineSpan[] = [];
  const { linear, report } = await pruned({ pattern: '50%', score }, 'keep', gpu, undefined, undefined, spans);
  for (const { name } of linear) {
    const [computed, written, ...others] = spans.filter(({ tensor }) => tensor === name);
    expect([computed?.stage, written?.stage, others.length]).toEqual(['compute', 'write', 0]);
    expect(computed!.end).toBeGreaterThan(computed!.start);
    expect(written!.start).toBeGreaterThanOrEqual(computed!.end);
    expect(written!.end).toBeLessThanOrEqual(1000 * report.seconds);
  }
});

test('a layer in slices is compared with all of itself, and blocks are not cut', async () => {
  // Slices of 16 rows of 64 columns.
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 96 * 64 * 4 });
  for (const pattern of ['50%', 'block:24x8:50%', '33%@model']) {
    const [whole, sliced] = [await pruned({ pattern }), await pruned({ pattern }, 'keep', narrow)];
    for (const { name } of whole.linear) expect(sliced.values(name)).toEqual(whole.values(name));
  }
});

test('a repaired layer in slices loses as many blocks as were asked for, even where some slices lose none or all of theirs', async () => {
  // Slices of 24 rows of 64 columns, or of 24 rows of 96.
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 24 * 96 * 4 });
  for (const [pattern, lost] of [
    ['block:24x32:1', (_: number) => 1],
    ['block:24x32:85%', (blocks: number) => Math.floor(0.85 * blocks + 1e-9)],
  ] as const) {
    const { report, linear, values } = await pruned({ pattern, score: 'obs', repair: 'obs' }, 'keep', narrow);
    for (const { name, shape } of linear) {
      const [rows, k] = shape as [number, number];
      let gone = 0;
      let weights = 0;
      const across = k / 32;
      for (let top = 0; top < rows; top += 24) {
        for (let column = 0; column < across; column++) {
          const block = Array.from({ length: Math.min(24, rows - top) }, (_, row) =>
            values(name).subarray((top + row) * k + 32 * column, (top + row) * k + 32 * column + 32),
          );
          if (block.some((row) => row.some((w) => w !== 0))) continue;
          gone++;
          weights += 32 * block.length;
        }
      }
      expect(gone, `${name} ${pattern}`).toBe(lost(Math.ceil(rows / 24) * across));
      expect(report.tensors.find((tensor) => tensor.name === name)?.prune?.sparsity).toBeCloseTo(
        weights / (rows * k),
        12,
      );
    }
  }
});

test('wanda ranks by the size of the inputs', async () => {
  const { model, values, linear, report } = await pruned({ pattern: '50%', score: 'wanda' });
  // The first matrices read what no pruned one has changed: H of the original model, by the f64 reference.
  const { name, shape } = linear[0]!;
  const [rows, k] = shape as [number, number];
  expect(report.tensors.find((tensor) => tensor.name === name)?.prune).toMatchObject({ score: 'wanda', sparsity: 0.5 });
  const input = model.graph.operations.find((operation) => operation.op === 'linear' && operation.weight === name);
  const squares = new Float64Array(k);
  for (const window of windows) {
    new ReferenceRun(model.graph, model.values).forward([...window], {
      onValue: (_, value, numbers) => {
        if (input?.op !== 'linear' || value !== input.x) return;
        for (const [at, x] of numbers.entries()) squares[at % k]! += x * x;
      },
    });
  }
  const factors = Float32Array.from(squares, (sum) => Math.sqrt(sum / (windows.length * windows[0]!.length)));
  const pattern: MaskPattern = { kind: 'ranked', rows: 1, columns: 1, scope: 'row', remove: { fraction: 0.5 } };
  const [mask] = selectMasks([{ weights: model.values(name), rows, k, factors }], pattern);
  const differing = values(name).filter((w, at) => (w !== 0) !== bitOf(mask!, k, at)).length;
  // H is a sum in f32: weights of nearly equal score may change places.
  expect(differing).toBeLessThanOrEqual(4);
});

test.each(['50%', '2:4', 'block:8x8:50%', '50%@layer', '2:4x4'])(
  '%s: the repair loses less, on the same counts',
  async (pattern) => {
    const [plain, repaired] = [
      await pruned({ pattern, score: 'obs' }),
      await pruned({ pattern, score: 'obs', repair: 'obs' }),
    ];
    for (const { name } of plain.linear) {
      const [before, after] = [plain, repaired].map(
        ({ report }) => report.tensors.find((t) => t.name === name)!.prune!,
      );
      expect(after!.sparsity).toBeCloseTo(before!.sparsity!, 12);
      const zeros = repaired.values(name).filter((w) => w === 0).length / repaired.values(name).length;
      expect(zeros).toBeGreaterThanOrEqual(after!.sparsity! - 1e-12);
    }
    const meanOf = ({ report }: typeof plain) => {
      const errors = report.tensors.flatMap(({ prune }) => prune?.error ?? []);
      return errors.reduce((sum, error) => sum + error, 0) / errors.length;
    };
    expect(meanOf(repaired)).toBeLessThan(0.8 * meanOf(plain));
  },
);

test('by outlier ratio layers lose shares of their own, all together what was asked for', async () => {
  // A layer of which some weights are far larger than the rest, a layer of equal ones.
  const change = (name: string, values: Float32Array) => {
    if (name.includes('layers.1.') && values.length > 100) {
      for (const i of values.keys()) if (i % 37 === 0) values[i]! *= 30;
    }
  };
  const { report, linear, files } = await pruned(
    { pattern: '50%', score: 'wanda', layers: 'owl' },
    'keep',
    gpu,
    change,
  );
  const sparsityOf = (name: string) => report.tensors.find((tensor) => tensor.name === name)!.prune!.sparsity!;
  const [first, second] = [0, 1].map((layer) =>
    linear.filter(({ name }) => name.includes(`layers.${layer}.`)).map(({ name }) => sparsityOf(name)),
  );
  for (const share of first!) expect(share).toBeCloseTo(0.58, 1);
  for (const share of second!) expect(share).toBeCloseTo(0.42, 1);
  const weights = (name: string) => linear.find((one) => one.name === name)!.shape.reduce((a, b) => a * b, 1);
  const gone = linear.reduce((sum, { name }) => sum + sparsityOf(name) * weights(name), 0);
  const all = linear.reduce((sum, { name }) => sum + weights(name), 0);
  // Shares of rows are rounded down.
  expect(gone / all).toBeGreaterThan(0.5 - 1 / 64);
  expect(gone / all).toBeLessThanOrEqual(0.5);
  expect(files.size).toBeGreaterThan(0);
  const model = await modelFolder(smallConfig());
  const plan = (prune: PruneRule) => planCompression(model.open(), { recipe: recipeOf(prune) });
  await expect(plan({ pattern: '50%', layers: 'sensitivity' })).rejects.toThrow(/layers \(sensitivity\) needs a calib/);
  await expect(plan({ pattern: '50%', layers: 'owl' })).rejects.toThrow(/The spread over layers \(owl\) needs a calib/);
  await expect(plan({ pattern: '2:4', layers: 'owl' })).rejects.toThrow(/Only a share can differ by layer/);
});

test('by measured sensitivity layers lose what costs least, all together what was asked for', async () => {
  // Of a layer whose weights are nearly all small, many can go at little cost.
  const change = (name: string, values: Float32Array) => {
    if (!name.includes('layers.1.') || values.length <= 100) return;
    for (const i of values.keys()) if (i % 3 !== 0) values[i]! /= 100;
  };
  const rule: PruneRule = { pattern: '50%', score: 'wanda' };
  const measured = await pruned({ ...rule, layers: 'sensitivity' }, 'keep', gpu, change);
  const uniform = await pruned(rule, 'keep', gpu, change);
  const reportOf = ({ report }: typeof measured, name: string) =>
    report.tensors.find((one) => one.name === name)!.prune!;
  let [gone, all] = [0, 0];
  const costs = [0, 0];
  for (const { name, shape } of measured.linear) {
    const weights = shape[0]! * shape[1]!;
    const { sparsity, error } = reportOf(measured, name);
    gone += sparsity! * weights;
    all += weights;
    costs[0]! += weights * error!;
    costs[1]! += weights * reportOf(uniform, name).error!;
    if (name.includes('layers.1.')) expect(sparsity).toBeCloseTo(0.66, 1);
    else expect(sparsity).toBeCloseTo(0.34, 1);
  }
  expect(gone / all).toBeGreaterThan(0.5 - 1 / 64);
  expect(gone / all).toBeLessThanOrEqual(0.5);
  expect(costs[0]).toBeLessThan(0.8 * costs[1]!);
});

test.each(['q8_0', 'q4_0', 'int4-g32', 'f16'])('zeros stay zeros in %s', async (format) => {
  for (const pattern of ['2:4', '50%@row', 'block:4x4:50%']) {
    const { model, values, linear, report } = await pruned({ pattern }, format);
    const masks = selectMasks(matricesOf(linear, model.values), parsePattern(pattern));
    for (const [i, { name, shape }] of linear.entries()) {
      const left = values(name).filter((w, at) => !bitOf(masks[i]!, shape[1]!, at) && w !== 0);
      expect(left).toHaveLength(0);
    }
    expect(report.tensors.filter(({ role }) => role === 'linear').every((tensor) => tensor.format === format)).toBe(
      true,
    );
  }
});

test.each([
  [{ pattern: '2:4', score: 'obs', repair: 'obs' }, 'q4_0'],
  [{ pattern: '2:4', score: 'obs', repair: 'obs', packed: true }, 'q4_0'],
  [{ pattern: '50%' }, 'int4-g32'],
] as const)('one sweep prunes and quantizes: %j, %s', async (prune, format) => {
  const { values, linear, report } = await pruned(prune, format, gpu, undefined, 'gptq');
  for (const { name } of linear) {
    const { prune: gone, error, method } = report.tensors.find((tensor) => tensor.name === name)!;
    expect(method).toBe('gptq');
    expect(gone!.sparsity).toBe(0.5);
    expect(values(name).filter((w) => w === 0).length).toBeGreaterThanOrEqual(values(name).length / 2);
    // Of both together, beside pruning and then rounding to nearest.
    expect(error!.chosen).toBeLessThan(error!.rtn);
  }
  expect(report.notices).toEqual([]);
});

test.each([
  [{ pattern: '2:4', score: 'wanda' }, 'keep'],
  [{ pattern: '2:4', score: 'obs', repair: 'obs', packed: true }, 'q8_0'],
] as const)('a bias makes up for what its matrix loses on the mean input: %j, %s', async (prune, format) => {
  const model = await modelFolder(smallConfig('Qwen2'));
  const output = memoryOutput();
  await compress(model.open(), output, { gpu, recipe: recipeOf(prune, format), calibration: { windows } });
  const checkpoint = await openCheckpoint(memoryFolder('pruned', Object.fromEntries(output.files)), { checkWeight });
  const graph = modelGraph(checkpoint);
  const values = await dequantizedWeights(checkpoint, graph);
  // Of the first layer, whose input no pruned matrix has changed; in f64.
  const first = graph.operations
    .filter((one) => one.op === 'linear')
    .filter(({ bias }) => bias !== undefined)
    .slice(0, 3);
  const sums = new Map<string, Float64Array>();
  for (const window of windows) {
    new ReferenceRun(model.graph, model.values).forward([...window], {
      onValue: (_, value, numbers) => {
        const one = first.find(({ x }) => x === value);
        if (!one) return;
        const k = graph.values[value]!;
        const sum = sums.get(value) ?? new Float64Array(k);
        sums.set(value, sum);
        for (const [at, x] of numbers.entries()) sum[at % k]! += x / (windows.length * window.length);
      },
    });
  }
  for (const { weight, bias, x } of first) {
    const [mean, before, after] = [sums.get(x)!, model.values(weight), values(weight)];
    const k = mean.length;
    let changed = 0;
    for (const [row, value] of values(bias!).entries()) {
      let wanted = model.values(bias!)[row]!;
      let size = Math.abs(wanted);
      for (let i = 0; i < k; i++) {
        const term = (before[row * k + i]! - after[row * k + i]!) * mean[i]!;
        wanted += term;
        size += Math.abs(term);
      }
      // The mean is of 120 f32 numbers.
      expect(Math.abs(value - wanted)).toBeLessThan(1e-5 * size);
      changed += Math.abs(value - model.values(bias!)[row]!);
    }
    expect(changed).toBeGreaterThan(0.01);
  }
  await checkpoint.close();
});

test('biases stay where inputs are not known, and are in the order of a GGUF file', async () => {
  const model = await modelFolder(smallConfig('Qwen2'));
  const written = async (options: object) => {
    const sink = memorySink('biased.gguf');
    await compress(model.open(), sink, { gpu, recipe: recipeOf({ pattern: '2:4' }), ...options });
    const checkpoint = await openCheckpoint(memorySource('biased.gguf', sink.bytes()), { checkWeight });
    return dequantizedWeights(checkpoint, modelGraph(checkpoint));
  };
  const folder = memoryOutput();
  await compress(model.open(), folder, { gpu, recipe: recipeOf({ pattern: '2:4' }), calibration: { windows } });
  const checkpoint = await openCheckpoint(memoryFolder('biased', Object.fromEntries(folder.files)), { checkWeight });
  const values = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
  const [without, calibrated] = [await written({}), await written({ calibration: { windows } })];
  for (const { name, role } of model.graph.weights) {
    if (role !== 'bias') continue;
    expect(without(name)).toEqual(model.values(name));
    expect(calibrated(name)).toEqual(values(name));
    expect(values(name)).not.toEqual(model.values(name));
  }
  await checkpoint.close();
});

test('a GGUF file has the same zeros, rows of queries and keys in its own order', async () => {
  const model = await modelFolder(smallConfig());
  const sink = memorySink('pruned.gguf');
  await compress(model.open(), sink, { gpu, recipe: recipeOf({ pattern: '2:4' }) });
  const checkpoint = await openCheckpoint(memorySource('pruned.gguf', sink.bytes()), { checkWeight });
  const values = await dequantizedWeights(checkpoint, modelGraph(checkpoint));
  const { values: folder, linear } = await pruned({ pattern: '2:4' });
  for (const { name } of linear) expect(values(name)).toEqual(folder(name));
});

test('what is asked for shows before the GPU is needed, with sizes', async () => {
  const model = await modelFolder(smallConfig());
  const plan = await planCompression(model.open(), { recipe: recipeOf({ pattern: '2:4' }, 'q8_0') });
  const matrix = plan.tensors.find(({ role }) => role === 'linear')!;
  expect(matrix).toMatchObject({ format: 'q8_0', prune: { pattern: '2:4', score: 'magnitude', repair: 'none' } });
  await expect(planCompression(model.open(), { recipe: recipeOf({ pattern: '2:4', score: 'wanda' }) })).rejects.toThrow(
    /The score wanda needs a calibration text/,
  );
});

test('what can’t be done is refused, and nothing is written', async () => {
  const model = await modelFolder(smallConfig());
  const outputs: ReturnType<typeof memoryOutput>[] = [];
  const run = (prune: PruneRule, open = model.open) => {
    const output = memoryOutput();
    outputs.push(output);
    return compress(open(), output, { gpu, recipe: recipeOf(prune) });
  };
  await expect(run({ pattern: '64@row' })).rejects.toThrow(ArgumentError);
  await expect(planCompression(model.open(), { recipe: recipeOf({ pattern: '9999@layer' }) })).rejects.toThrow(
    /^Tensor "model\.layers.*": removing 9999 of \d+ leaves nothing; remove at most \d+\.$/,
  );
  await expect(run({ pattern: '99999999@model' })).rejects.toThrow(/leaves nothing; remove at most \d+/);
  await expect(run({ pattern: '50%', repair: 'obs' })).rejects.toThrow(RecipeError);
  const bad = await modelFolder(smallConfig(), (name, values) => {
    if (name === 'model.layers.1.mlp.up_proj.weight') values[70] = Number.NaN;
  });
  for (const pattern of ['2:4', '50%@model']) {
    const failed = run({ pattern }, bad.open);
    await expect(failed).rejects.toThrow(NonFiniteError);
    await expect(failed).rejects.toThrow(/row 1, column 6 of tensor "model.layers.1.mlp.up_proj.weight"/);
  }
  expect(outputs.map(({ files }) => files.size)).toEqual(outputs.map(() => 0));
});
