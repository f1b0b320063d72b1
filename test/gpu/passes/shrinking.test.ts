import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { Decoder } from '../../../src/graph/decoder.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { refitColumns, unitCosts } from '../../../src/kernels/reference/refit-columns.ts';
import { compress } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { findCouplings } from '../../../src/passes/shrinking/couplings.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig } from '../small-model.ts';
import { recipeOf, shrunk, windows } from './shrunk-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

type Values = (name: string) => Float32Array;

/** H of an input over the calibration, by the f64 reference. */
function hessianOf(graph: Graph, values: Values, input: string): Float64Array {
  const k = graph.values[input]!;
  const h = new Float64Array(k * k);
  let tokens = 0;
  for (const window of windows) {
    tokens += window.length;
    new ReferenceRun(graph, values).forward([...window], {
      onValue: (_, name, x) => {
        if (name !== input) return;
        for (let t = 0; t < x.length / k; t++) {
          for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) h[i * k + j]! += x[t * k + i]! * x[t * k + j]!;
        }
      },
    });
  }
  return h.map((sum) => sum / tokens);
}

const columnsOf = (units: readonly number[], size: number): number[] =>
  units.flatMap((unit) => Array.from({ length: size }, (_, i) => unit * size + i));

const picked = (values: Float32Array, rows: readonly number[], k: number): Float32Array =>
  Float32Array.from({ length: rows.length * k }, (_, at) => values[rows[Math.floor(at / k)]! * k + (at % k)]!);

/** Of the keys and values of 32 positions, in f32, as a decoder holds them. */
function cacheBytes(graph: Graph): number {
  const decoder = new Decoder(gpu, graph, new Map(), { maxPositions: 32 });
  decoder.release();
  return decoder.buffers.caches.reduce((sum, { k, v }) => sum + k.size! + v.size!, 0);
}

const FAMILIES = [
  ['Llama', smallConfig()],
  ['Qwen2', smallConfig('Qwen2')],
  ['Qwen3', smallConfig('Qwen3', { num_attention_heads: 8, num_key_value_heads: 4, head_dim: 8 })],
  ['Gemma2', smallConfig('Gemma2', { hidden_activation: 'gelu_pytorch_tanh', sliding_window: 16 })],
] as const;

test.each(
  FAMILIES.flatMap(([family, settings]) =>
    (['ffn:30%', 'heads:1'] as const).map((pattern) => [family, pattern, settings] as const),
  ),
)(
  '%s, %s: what stays is as it was, and the model computes what it would with zeros for what went',
  async (_, pattern, settings) => {
    const { model, report, values, graph, checkpoint } = await shrunk(gpu, { pattern, score: 'obs' }, { settings });
    const [structure] = pattern.split(':') as ['ffn' | 'heads'];
    const zeroed = new Map<string, Float32Array>();
    for (const coupling of findCouplings(model.graph, structure, 'random')) {
      const { layer, units, reader, columns, makers } = coupling;
      const { removed, importance } = report.shrink!.find((one) => one.layer === layer)!;
      expect(removed).toHaveLength(structure === 'ffn' ? Math.floor(0.3 * units) : 1);
      expect(importance).toHaveLength(units);
      const stays = Array.from({ length: units }, (_, unit) => unit).filter((unit) => !removed.includes(unit));
      for (const { name, rows } of makers) {
        const k = model.values(name).length / (units * rows);
        expect(values(name)).toEqual(picked(model.values(name), columnsOf(stays, rows), k));
      }
      const k = units * columns;
      const kept = columnsOf(stays, columns);
      const before = model.values(reader);
      const wide = before.map((w, at) => (kept.includes(at % k) ? w : 0));
      zeroed.set(reader, wide);
      expect(values(reader)).toEqual(wide.filter((_, at) => kept.includes(at % k)));
    }
    const tokens = [...windows[0]!];
    const wanted = new ReferenceRun(model.graph, (name) => zeroed.get(name) ?? model.values(name)).forward(tokens);
    const made = new ReferenceRun(graph, values).forward(tokens);
    expect(made.length).toBe(wanted.length);
    for (const [i, logit] of made.entries()) expect(logit).toBeCloseTo(wanted[i]!, 9);
    if (structure === 'heads') {
      const groups = settings.num_key_value_heads;
      expect(cacheBytes(model.graph)).toBe(2 * 2 * 32 * groups * settings.head_dim * 4);
      expect(cacheBytes(graph)).toBe(2 * 2 * 32 * (groups - 1) * settings.head_dim * 4);
    }
    expect(checkpoint.config).toMatchObject(
      structure === 'ffn'
        ? { intermediate_size: 68, num_attention_heads: settings.num_attention_heads }
        : {
            num_key_value_heads: settings.num_key_value_heads - 1,
            num_attention_heads:
              settings.num_attention_heads - settings.num_attention_heads / settings.num_key_value_heads,
            head_dim: settings.head_dim,
          },
    );
  },
);

test('the first channels that go are those that cost least, and the rest is fitted as the f64 reference does', async () => {
  const { model, report, values } = await shrunk(gpu, { pattern: 'ffn:1', score: 'obs', repair: 'refit' });
  const [coupling] = findCouplings(model.graph, 'ffn', 'random');
  const { reader, input, units: k } = coupling!;
  const h = hessianOf(model.graph, model.values, input);
  const mean = Array.from({ length: k }, (_, i) => h[i * (k + 1)]!).reduce((sum, value) => sum + value, 0) / k;
  const damped = h.map((value, at) => value + (at % (k + 1) === 0 ? 0.01 * mean : 0));
  const [rows, all] = [64, Array.from({ length: k }, (_, i) => i)];
  const costs = unitCosts(model.values(reader), damped, all, 1, rows, k);
  const { removed, importance, error } = report.shrink![0]!;
  for (const [i, cost] of costs.entries()) expect(importance[i]! / cost).toBeCloseTo(1, 2);
  expect(removed).toEqual([costs.indexOf(Math.min(...costs))]);
  const kept = all.filter((column) => column !== removed[0]);
  const wanted = refitColumns(model.values(reader), damped, kept, rows, k);
  const most = Math.max(...wanted.map(Math.abs));
  for (const [i, value] of values(reader).entries()) expect(Math.abs(value - wanted[i]!)).toBeLessThan(1e-3 * most);
  // The report's error, without damping.
  let [lost, before] = [0, 0];
  const wide = new Float64Array(rows * k);
  for (const [at, value] of values(reader).entries())
    wide[Math.floor(at / kept.length) * k + kept[at % kept.length]!] = value;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) {
        const [w, v] = [model.values(reader)[row * k + i]!, model.values(reader)[row * k + j]!];
        lost += (w - wide[row * k + i]!) * h[i * k + j]! * (v - wide[row * k + j]!);
        before += w * h[i * k + j]! * v;
      }
    }
  }
  expect(error! / (lost / before)).toBeCloseTo(1, 2);
});

/** The mean of an input over the calibration, by the f64 reference. */
function meanOf(graph: Graph, values: Values, input: string): Float64Array {
  const sums = new Float64Array(graph.values[input]!);
  let tokens = 0;
  for (const window of windows) {
    tokens += window.length;
    new ReferenceRun(graph, values).forward([...window], {
      onValue: (_, name, x) => {
        if (name === input) for (const [at, value] of x.entries()) sums[at % sums.length]! += value;
      },
    });
  }
  return sums.map((sum) => sum / tokens);
}

const BIASED = smallConfig('Llama', { attention_bias: true, mlp_bias: true });

test.each([
  ['ffn:50%', 'obs', 'refit'],
  ['heads:1', 'obs', 'refit'],
  ['ffn:50%', 'wanda', 'none'],
  ['ffn:50%', 'magnitude', 'none'],
] as const)(
  '%s, %s, %s: a bias makes up for the mean of what goes, and matrices are fitted for that',
  async (pattern, score, repair) => {
    const { model, report, values } = await shrunk(gpu, { pattern, score, repair }, { settings: BIASED });
    const [structure] = pattern.split(':') as ['ffn' | 'heads'];
    const [{ reader, bias, input, units, columns: size }] = findCouplings(model.graph, structure, 'random') as [
      ReturnType<typeof findCouplings>[number],
    ];
    const k = units * size;
    const mean = meanOf(model.graph, model.values, input);
    const covariance = hessianOf(model.graph, model.values, input).map(
      (value, at) => value - mean[Math.floor(at / k)]! * mean[at % k]!,
    );
    const [{ removed, importance, error }] = report.shrink as [NonNullable<typeof report.shrink>[number]];
    const kept = columnsOf(
      Array.from({ length: units }, (_, unit) => unit).filter((unit) => !removed.includes(unit)),
      size,
    );
    const n = kept.length;
    const [w, made] = [model.values(reader), values(reader)];
    if (repair === 'refit') {
      const average = Array.from({ length: k }, (_, i) => covariance[i * (k + 1)]!).reduce((a, b) => a + b, 0) / k;
      const damped = covariance.map((value, at) => value + (at % (k + 1) === 0 ? 0.01 * average : 0));
      const wanted = refitColumns(w, damped, kept, 64, k);
      const most = Math.max(...wanted.map(Math.abs));
      for (const [at, value] of made.entries()) expect(Math.abs(value - wanted[at]!)).toBeLessThan(1e-3 * most);
      const costs = unitCosts(
        w,
        damped,
        Array.from({ length: k }, (_, i) => i),
        size,
        64,
        k,
      );
      for (const [i, cost] of costs.entries()) expect(importance[i]! / cost).toBeCloseTo(1, 2);
    } else {
      for (let unit = 0; unit < units; unit++) {
        const squares = w.reduce((sum, value, at) => sum + (at % k === unit ? value * value : 0), 0);
        const weight = score === 'magnitude' ? 1 : covariance[unit * (k + 1)]!;
        expect(importance[unit]! / (squares * weight)).toBeCloseTo(1, 2);
      }
    }
    let [lost, all, moved] = [0, 0, 0];
    for (let row = 0; row < 64; row++) {
      const change = Float64Array.from(w.subarray(row * k, (row + 1) * k));
      for (const [i, column] of kept.entries()) change[column]! -= made[row * n + i]!;
      const shift = change.reduce((sum, value, i) => sum + value * mean[i]!, 0);
      // The mean of f32 sums beside f64.
      expect(values(bias!)[row]! - model.values(bias!)[row]!).toBeCloseTo(shift, 5);
      moved += shift * shift;
      for (let i = 0; i < k; i++) {
        for (let j = 0; j < k; j++) {
          lost += change[i]! * covariance[i * k + j]! * change[j]!;
          all += w[row * k + i]! * covariance[i * k + j]! * w[row * k + j]!;
        }
      }
    }
    expect(error! / (lost / all)).toBeCloseTo(1, 2);
    // What the outputs would lose besides, if the bias stayed as it was.
    expect(moved).toBeGreaterThan(0.001 * lost);
  },
);

test('a refit loses less than none, obs with it less than other scores, by far less than at random', async () => {
  const sum = async (rule: Omit<ShrinkRule, 'pattern'>) => {
    const { report } = await shrunk(gpu, { pattern: 'ffn:50%', ...rule });
    return report.shrink!.reduce((total, { error }) => total + error!, 0);
  };
  const obs = await sum({ score: 'obs', repair: 'refit' });
  expect(obs).toBeLessThan(await sum({ score: 'obs' }));
  expect(obs).toBeLessThan(await sum({ score: 'wanda', repair: 'refit' }));
  for (const seed of [1, 2, 3]) expect(obs).toBeLessThan(0.9 * (await sum({ score: 'random', repair: 'refit', seed })));
});

test('heads and channels go together, in a GGUF file, quantized; later layers see what earlier ones lost', async () => {
  const settings = smallConfig();
  const model = await modelFolder(settings);
  const sink = memorySink();
  const recipe = recipeOf({ pattern: 'heads:1,ffn:32', score: 'obs', repair: 'refit' }, 'q4_0');
  const report = await compress(model.open(), sink, { gpu, recipe, calibration: { windows }, output: 'gguf' });
  expect(report.shrink!.map(({ structure, layer }) => `${structure} ${layer}`)).toEqual([
    ...['heads 0', 'ffn 0', 'heads 1', 'ffn 1'],
  ]);
  const down = report.tensors.find(({ name }) => name.endsWith('layers.1.mlp.down_proj.weight'));
  expect(down).toMatchObject({
    shape: [64, 64],
    format: 'q4_0',
    bytesBefore: 64 * 96 * 4,
    bytesAfter: (64 * 64 * 18) / 32,
  });
  const checkpoint = await openCheckpoint(memorySource('a.gguf', sink.bytes()), { checkWeight });
  expect(checkpoint.config).toMatchObject({
    ...{ intermediate_size: 64, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16 },
  });
  const graph = modelGraph(checkpoint);
  const values = await dequantizedWeights(checkpoint, graph);
  expect(new ReferenceRun(graph, values).forward([...windows[0]!]).every(Number.isFinite)).toBe(true);
  const alone = await shrunk(gpu, { pattern: 'ffn:32', score: 'obs', repair: 'refit' });
  const both = report.shrink!.filter(({ structure }) => structure === 'ffn');
  expect(both[0]!.importance).not.toEqual(alone.report.shrink![0]!.importance);
});

test('the same recipe gives the same bytes, whatever is on the GPU at once', async () => {
  const rule: ShrinkRule = { pattern: 'ffn:40%,heads:1', score: 'obs', repair: 'refit' };
  const [first, again] = [await shrunk(gpu, rule), await shrunk(gpu, rule)];
  expect(again.files['model.safetensors']).toEqual(first.files['model.safetensors']);
  // Slices of 16 rows of 96 columns.
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 96 * 96 * 4 });
  const sliced = await shrunk(narrow, rule);
  for (const [i, { removed }] of sliced.report.shrink!.entries())
    expect(removed).toEqual(first.report.shrink![i]!.removed);
});

test('where H is too large, channels go by wanda, and a notice says so', async () => {
  const small = await openGpu({ device: gpu.device, bindingLimit: 90 * 96 * 4 });
  const { report } = await shrunk(small, { pattern: 'ffn:50%', score: 'obs', repair: 'refit' });
  const byWanda = await shrunk(gpu, { pattern: 'ffn:50%', score: 'wanda' });
  expect(report.shrink![0]!.removed).toEqual(byWanda.report.shrink![0]!.removed);
  expect(report.notices.join()).toMatch(/ffn are chosen as wanda does, and nothing is fitted: H of 96 columns/);
  const byMagnitude = await shrunk(small, { pattern: 'ffn:50%', repair: 'refit' });
  expect(byMagnitude.report.shrink![0]!.removed).not.toEqual(byWanda.report.shrink![0]!.removed);
  expect(byMagnitude.report.notices.join()).toMatch(/down_proj\.weight": nothing is fitted: H of 96 columns/);
  expect(byMagnitude.report.notices.join()).not.toContain('wanda');
});
