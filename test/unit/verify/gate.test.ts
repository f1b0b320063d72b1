import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { stackGraph } from '../../../src/models/stack.ts';
import { judge, noiseNote } from '../../../src/verify/gate.ts';
import type { Report } from '../../../src/verify/report.ts';
import type { WeightPair } from '../../../src/verify/sizes.ts';
import { increaseInterval } from '../../../src/verify/summarize-scores.ts';

const graph = stackGraph({ hidden: 64, ffn: 128, layers: 2, heads: 1, kvHeads: 1, headDim: 64, vocabulary: 32 });

/** Names of quantized weights with their squared errors. */
function weights(errors: Readonly<Record<string, number>>) {
  const tensors: Report['size']['tensors'] = [];
  const pairs: WeightPair[] = [];
  for (const [name, squaredError] of Object.entries(errors)) {
    const shape: [number, number] = [64, 64];
    const onGpu = { original: 0, compressed: 0 };
    tensors.push({
      name,
      shape,
      format: 'q4_0',
      original: 0,
      compressed: 0,
      onGpu,
      relativeError: squaredError,
      squaredError,
      nonFinite: { original: 0, compressed: 0 },
    });
    const info = { name, type: 'F16', shape, offset: 0, byteLength: 8192 } as const;
    pairs.push({
      name,
      role: 'linear',
      loaded: { original: true, compressed: true },
      original: { kind: 'dense', info, shape },
      compressed: { kind: 'quantized', format: formatByName('q4_0'), shape, parts: [] },
    });
  }
  return { tensors, pairs };
}

const accuracy = (
  compressed: number,
  increases: readonly (readonly [number | null, number])[],
): Report['accuracy'] => ({
  windows: 1,
  window: 2,
  perplexity: { original: 10, compressed, control: 1000 },
  increaseInterval: null,
  control: null,
  kl: null,
  top1Agreement: null,
  sensitivity: increases.map(([layer, lossIncrease]) => ({ layer, lossIncrease })),
});

const layer = (n: number, rest: string) => `model.layers.${n}.${rest}.weight`;

test('the limit itself passes', () => {
  const { tensors, pairs } = weights({});
  expect(judge(0.5, accuracy(15, []), tensors, pairs, graph)).toMatchObject({ passed: true, increase: 0.5 });
  expect(judge(0.49, accuracy(15, []), tensors, pairs, graph).passed).toBe(false);
});

test('a model without numbers fails', () => {
  const { tensors, pairs } = weights({});
  expect(judge(0.5, null, tensors, pairs, graph)).toMatchObject({ passed: false, increase: null });
});

test("tensors share their layer's loss by squared error; those that cost nothing come last", () => {
  const { tensors, pairs } = weights({
    [layer(0, 'mlp.up_proj')]: 100,
    [layer(1, 'mlp.up_proj')]: 3,
    [layer(1, 'mlp.down_proj')]: 1,
    'model.embed_tokens.weight': 5,
    [layer(0, 'mlp.gate_proj')]: 0,
  });
  const increases = [
    [0, -0.01],
    [1, 0.4],
    [null, 0.2],
  ] as const;
  expect(judge(0, accuracy(20, increases), tensors, pairs, graph).costliest).toEqual([
    { name: layer(1, 'mlp.up_proj'), format: 'q4_0', cost: expect.closeTo(0.3), next: 'q5_0' },
    { name: 'model.embed_tokens.weight', format: 'q4_0', cost: expect.closeTo(0.2), next: 'q5_0' },
    { name: layer(1, 'mlp.down_proj'), format: 'q4_0', cost: expect.closeTo(0.1), next: 'q5_0' },
    { name: layer(0, 'mlp.up_proj'), format: 'q4_0', cost: 0, next: 'q5_0' },
  ]);
});

test.each<[string, number, [number, number] | null, RegExp | undefined]>([
  ['no interval', 0.01, null, /no interval can be made of 1, it takes 6/],
  [
    'an interval wider than the gate',
    0.01,
    [-0.02, 0.005],
    /Too few windows for this gate: .* 2\.50% wide.* allows 1\.00%/,
  ],
  ['an interval as wide as the gate', 0.25, [0, 0.25], undefined],
  ['no noise', 0, [0, 0], undefined],
])('%s is noted where chance can decide', (_, most, increaseInterval, said) => {
  const found = { ...accuracy(10, [])!, increaseInterval };
  const note = noiseNote(judge(most, found, [], [], graph), found);
  if (said) expect(note).toMatch(said);
  else expect(note).toBeUndefined();
});

test('the interval of an increase draws windows for both models together', () => {
  const window = (original: number, compressed: number) =>
    Array.from({ length: 4 }, () => ({ original, compressed, kl: 0, agree: true, nonFinite: [0, 0] as const }));
  const windows = [1, 2, 3, 4, 5, 6].map((loss) => window(loss, loss + Math.log(1.01)));
  const [low, high] = increaseInterval(windows)!;
  expect(low).toBeCloseTo(0.01, 10);
  expect(high).toBeCloseTo(0.01, 10);
  const noisy = [1, 2, 3, 4, 5, 6].map((loss, i) => window(loss, loss + (i % 2 ? 0.1 : -0.1)));
  expect(increaseInterval(noisy)![0]).toBeLessThan(-0.03);
  expect(increaseInterval(noisy)![1]).toBeGreaterThan(0.03);
  expect(increaseInterval(noisy)).toEqual(increaseInterval(noisy));
  expect(increaseInterval(windows.slice(1))).toBeNull();
});
