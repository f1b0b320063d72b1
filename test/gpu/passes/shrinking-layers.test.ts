import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { prepare } from '../../../src/passes/prepare.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig } from '../small-model.ts';
import { recipeOf, shrunk, windows } from './shrunk-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const LAYERED = [
  ['Llama', smallConfig('Llama', { num_hidden_layers: 5 })],
  [
    'Gemma2',
    smallConfig('Gemma2', { num_hidden_layers: 5, hidden_activation: 'gelu_pytorch_tanh', sliding_window: 16 }),
  ],
  ['SmolLM3', smallConfig('SmolLM3', { num_hidden_layers: 5, no_rope_layers: [1, 0, 1, 1, 0] })],
] as const;

test.each(LAYERED)(
  '%s: the layers that go change their input least, and the others stay as they are',
  async (_, settings) => {
    const { model, report, graph, values, checkpoint } = await shrunk(gpu, { pattern: 'layers:2' }, { settings });
    const { graph: whole } = model;
    const outs = whole.layerRanges.map(([, to]) => whole.operations[to - 1]!.out);
    const first = whole.operations[whole.layerRanges[0]![0] - 1]!.out;
    const sums = new Float64Array(5);
    for (const window of windows) {
      const seen = new Map<string, Float64Array>();
      new ReferenceRun(whole, model.values).forward([...window], {
        onValue: (_op, name, numbers) => {
          seen.set(name, Float64Array.from(numbers));
        },
      });
      for (const [layer, out] of outs.entries()) {
        const [a, b] = [seen.get(layer === 0 ? first : outs[layer - 1]!)!, seen.get(out)!];
        for (let t = 0; t < window.length; t++) {
          let [dot, aa, bb] = [0, 0, 0];
          for (let i = 64 * t; i < 64 * (t + 1); i++) {
            dot += a[i]! * b[i]!;
            aa += a[i]! ** 2;
            bb += b[i]! ** 2;
          }
          sums[layer]! += 1 - dot / Math.sqrt(aa * bb);
        }
      }
    }
    const wanted = Array.from(sums, (sum) => sum / (windows.length * windows[0]!.length));
    const [{ structure, importance, removed }] = report.shrink as [NonNullable<typeof report.shrink>[number]];
    expect(structure).toBe('layers');
    for (const [layer, value] of wanted.entries()) expect(importance[layer]!).toBeCloseTo(value, 3);
    const order = [...wanted.keys()].sort((a, b) => wanted[a]! - wanted[b]!);
    expect(removed).toEqual(order.slice(0, 2).sort());
    expect(checkpoint.config).toMatchObject({ num_hidden_layers: 3 });
    expect(report.bytesBefore - report.bytesAfter).toBe(
      whole.weights.reduce(
        (sum, { layer, shape }) =>
          sum + (removed.includes(layer ?? -1) ? 4 * shape.reduce((n, size) => n * size, 1) : 0),
        0,
      ),
    );
    // What is left computes what the whole one does with those layers passed over: their last addition adds nothing.
    const stays = [0, 1, 2, 3, 4].filter((layer) => !removed.includes(layer));
    for (const { name, layer } of graph.weights) {
      const origin = layer === undefined ? name : name.replace(`layers.${layer}.`, `layers.${stays[layer]}.`);
      expect(values(name)).toEqual(model.values(origin));
    }
    const silenced = (name: string) => {
      const gone = removed.some((layer) => name.includes(`layers.${layer}.`));
      const last = /(o_proj|down_proj)\.weight$/.test(name);
      return gone && last ? model.values(name).map(() => 0) : model.values(name);
    };
    const tokens = [...windows[0]!];
    const made = new ReferenceRun(graph, values).forward(tokens);
    for (const [i, logit] of new ReferenceRun(whole, silenced).forward(tokens).entries()) {
      expect(made[i]!).toBeCloseTo(logit, 9);
    }
  },
);

const FULL = Array.from({ length: 5 }, () => 'full_attention');

test.each([
  ['Qwen2', { layer_types: FULL }],
  ['Qwen3', { layer_types: FULL }],
  ['SmolLM3', { layer_types: FULL, no_rope_layers: [1, 1, 1, 1, 1] }],
  ['SmolLM3', { layer_types: FULL, no_rope_layers: [1, 1, 0, 1, 1] }],
  [
    'Gemma2',
    { hidden_activation: 'gelu_pytorch_tanh', sliding_window: 16, layer_types: FULL.with(1, 'sliding_attention') },
  ],
] as const)(
  '%s: lists of the config have as many entries as layers stay, theirs, whether they differ or not',
  async (family, lists) => {
    const { open } = await modelFolder(smallConfig(family, { num_hidden_layers: 5, ...lists }));
    const { checkpoint, ...plan } = await prepare(open(), {
      recipe: recipeOf({ pattern: 'layers:2', score: 'random' }),
    });
    await checkpoint.close();
    for (const kept of [
      [0, 2, 3],
      [1, 2, 4],
    ]) {
      const { checkpoint } = await plan.withShrunk!({ layers: kept });
      expect(checkpoint.config!.num_hidden_layers).toBe(3);
      for (const [key, list] of Object.entries(lists)) {
        if (Array.isArray(list)) expect(checkpoint.config![key]).toEqual(kept.map((layer) => list[layer]));
      }
    }
  },
);

test('layers, heads and channels go together', async () => {
  const rule: ShrinkRule = { pattern: 'layers:1,heads:1,ffn:32', score: 'obs', repair: 'refit' };
  const { report, graph } = await shrunk(gpu, rule, {
    settings: smallConfig('Llama', { num_hidden_layers: 3 }),
    format: 'q8_0',
  });
  expect(report.shrink!.map(({ structure, layer }) => `${structure} ${layer}`)).toEqual([
    ...['layers undefined', 'heads 0', 'ffn 0', 'heads 1', 'ffn 1'],
  ]);
  expect([graph.layers, graph.values['layers.1.activated'], graph.values['layers.1.attention']]).toEqual([2, 64, 32]);
});
