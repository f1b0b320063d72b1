import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, CancelledError, NoDeviceError, OutOfMemoryError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { tokensAtOnce } from '../../src/graph/tokens-at-once.ts';
import type { Need, VariantChoice } from '../../src/graph/variant-choice.ts';
import { usualAttentionVariant } from '../../src/kernels/attention-variants.ts';
import type { Weight } from '../../src/kernels/weight.ts';
import { graphOf } from '../../src/models/families.ts';
import { dequantizedWeights, loadWeights } from '../../src/passes/load-weights.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const reference = JSON.parse(readFileSync(`${FOLDER}/REFERENCE.json`, 'utf8'));
const prompt: number[] = reference.prompt.tokens;

let gpu: Gpu;
let graph: Graph;
let weights: Map<string, Weight>;
let run: ReferenceRun;
beforeAll(async () => {
  gpu = await openTestGpu();
  const checkpoint = await openCheckpoint(await nodeFolder(FOLDER));
  graph = graphOf(checkpoint.config, `${FOLDER}/config.json`);
  weights = await loadWeights(gpu, checkpoint, graph);
  run = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph));
});
afterAll(() => gpu.close());

async function logitsOf(decoder: Decoder, tokens: number[]): Promise<Float32Array> {
  const { logits } = await decoder.forward(tokens);
  return new Float32Array((await gpu.readBack(logits.buffer, 0, logits.size)).buffer);
}

test('gives the logits of the independent implementation within 1e-3', async () => {
  const decoder = new Decoder(gpu, graph, weights);
  const logits = await logitsOf(decoder, prompt);
  const last = logits.subarray((prompt.length - 1) * graph.vocabulary);
  const expected = reference.prompt['last position, f64'];
  for (const [id, value] of expected.top10) expect(Math.abs(last[id]! - value)).toBeLessThan(1e-3);
  expect(Math.abs(last.reduce((sum, x) => sum + x, 0) / last.length - expected.mean)).toBeLessThan(1e-3);
  decoder.release();
});

test('every value agrees with the f64 reference, layer by layer', async () => {
  const decoder = new Decoder(gpu, graph, weights);
  const { values } = await decoder.forward(prompt, { keepValues: true });
  const expected = new Map<string, Float64Array>();
  run.forward(prompt, { startPosition: 0, onValue: (_, name, value) => expected.set(name, value.slice()) });
  for (const [name, view] of values) {
    const got = new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
    const wanted = expected.get(name)!;
    const scale = Math.max(...wanted.map(Math.abs));
    const worst = wanted.reduce((most, x, i) => Math.max(most, Math.abs(got[i]! - x)), 0);
    // f32 sums of up to 768 products through 8 layers: 1e-4 of the value's own range is a hundred roundings.
    expect(worst / scale, name).toBeLessThan(1e-4);
  }
  decoder.release();
});

test('a token takes seven dispatches a layer and three more; fused and unfused logits agree', async () => {
  const fused = new Decoder(gpu, graph, weights);
  const single = new Decoder(gpu, graph, weights, { fuse: false });
  for (const tokens of [prompt, prompt.slice(0, 1), prompt.slice(3, 4)]) {
    const [one, other] = [await logitsOf(fused, tokens), await logitsOf(single, tokens)];
    const worst = one.reduce((most, x, i) => Math.max(most, Number.isNaN(x) ? Infinity : Math.abs(other[i]! - x)), 0);
    expect(worst).toBeLessThan(1e-3);
  }
  // Embedding, norm and head; choosing the token is the fourth.
  const { batch } = await fused.record(1, { lastOnly: true });
  const shares = usualAttentionVariant(gpu, {
    tokens: 1,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    maxPositions: 512,
  }).startsWith('split-1-');
  expect(batch.steps.length).toBe((shares ? 7 : 8) * graph.layers + 3);
  const { batch: apart } = await single.record(1, { lastOnly: true });
  expect(apart.steps.length).toBeGreaterThan(14 * graph.layers);
  fused.release();
  single.release();
});

test.each([
  ['f16', 0.02],
  ['int8', 0.15],
  ['int4', 2],
] as const)('a cache in %s moves logits little, and takes less memory', async (cache, most) => {
  const [exact, rounded] = [new Decoder(gpu, graph, weights), new Decoder(gpu, graph, weights, { cache })];
  const pieces = [prompt.slice(0, 9), prompt.slice(9), prompt.slice(0, 1)];
  for (const piece of pieces) {
    const [one, other] = [await logitsOf(exact, piece), await logitsOf(rounded, piece)];
    const worst = one.reduce(
      (far, x, i) => Math.max(far, Number.isNaN(other[i]!) ? Infinity : Math.abs(other[i]! - x)),
      0,
    );
    expect(worst).toBeLessThan(most);
    expect(worst).toBeGreaterThan(0);
  }
  const bytes = (decoder: Decoder) => decoder.buffers.caches.reduce((sum, { k, v }) => sum + k.size! + v.size!, 0);
  expect(bytes(rounded) / bytes(exact)).toBe({ f16: 1 / 2, int8: 9 / 32, int4: 5 / 32 }[cache]);
  exact.release();
  rounded.release();
  expect(() => new Decoder(gpu, graph, weights, { cache: 'int5' as 'int4' })).toThrow(/no cache is of type "int5"/i);
});

test('token by token over the cache equals all at once', async () => {
  const whole = new Decoder(gpu, graph, weights);
  const expected = await logitsOf(whole, prompt);
  const stepwise = new Decoder(gpu, graph, weights, { maxPositions: 20 });
  for (const [i, token] of prompt.entries()) {
    const got = await logitsOf(stepwise, [token]);
    const row = expected.subarray(i * graph.vocabulary, (i + 1) * graph.vocabulary);
    const worst = row.reduce((most, x, j) => Math.max(most, Math.abs(got[j]! - x)), 0);
    expect(worst).toBeLessThan(1e-3);
  }
  await expect(stepwise.forward(prompt)).rejects.toThrow(/too many: there is room for 20/);
  await expect(whole.forward([graph.vocabulary])).rejects.toThrow(/vocabulary/);
  whole.release();
  stepwise.release();
});

test('caches that the model or the device does not take are refused, and nothing is kept', async () => {
  const before = gpu.memory.bytesInUse;
  for (const maxPositions of [0, -1, 1.5, Number.NaN, graph.maxPositions + 1]) {
    expect(() => new Decoder(gpu, graph, weights, { maxPositions }), String(maxPositions)).toThrow(ArgumentError);
  }
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 64 * 1024 });
  const { num_key_value_heads: heads, head_dim: headDim } = JSON.parse(readFileSync(`${FOLDER}/config.json`, 'utf8'));
  const position = heads * headDim * 4;
  expect(() => new Decoder(narrow, graph, weights)).toThrow(OutOfMemoryError);
  expect(() => new Decoder(narrow, graph, weights)).toThrow(`Give ${Math.floor((64 * 1024) / position)} positions`);
  expect(narrow.memory.bytesInUse).toBe(0);
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('a model made for more positions than most texts need gets caches for fewer', () => {
  const decoder = new Decoder(gpu, { ...graph, maxPositions: 131_072 }, weights);
  expect(decoder.maxPositions).toBe(4096);
  decoder.release();
});

test('a prompt whose values exceed a binding goes in pieces; what has to stay whole is refused', async () => {
  const whole = new Decoder(gpu, graph, weights);
  const { logits: view } = await whole.forward(prompt, { lastOnly: true });
  const expected = new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
  // Seven tokens of the widest value, the gate of a feed-forward network.
  const widest = Math.max(...Object.entries(graph.values).map(([name, width]) => (name === graph.logits ? 0 : width)));
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 7 * 4 * widest + 100 });
  const decoder = new Decoder(narrow, graph, weights, { maxPositions: 32 });
  const sizes: number[] = [];
  const record = decoder.record.bind(decoder);
  decoder.record = (tokens, options) => {
    sizes.push(tokens);
    return record(tokens, options);
  };
  const { logits, logitRows } = await decoder.forward(prompt, { lastOnly: true });
  const pieces = Math.ceil(prompt.length / 7);
  expect(sizes).toEqual([...new Array<number>(pieces - 1).fill(7), prompt.length - 7 * (pieces - 1)]);
  expect(decoder.position).toBe(prompt.length);
  const got = new Float32Array((await gpu.readBack(logits.buffer, 0, logits.size)).buffer).slice(-graph.vocabulary);
  expect(logitRows).toBe(1);
  const worst = got.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i]!)), 0);
  // Sums of other kernels, in another order.
  expect(worst).toBeLessThan(1e-3);
  decoder.rewind(3);
  const controller = new AbortController();
  decoder.record = (tokens, options) => {
    controller.abort();
    return record(tokens, options);
  };
  const { signal } = controller;
  await expect(decoder.forward(prompt, { lastOnly: true, signal })).rejects.toThrow(CancelledError);
  expect(decoder.position).toBe(3);
  await expect(decoder.forward(prompt.slice(0, 9))).rejects.toThrow(OutOfMemoryError);
  await expect(decoder.forward(prompt.slice(0, 9))).rejects.toThrow(/this device binds .* Take fewer tokens/);
  expect(decoder.position).toBe(3);
  decoder.release();
  expect(narrow.memory.bytesInUse).toBe(0);
  whole.release();
});

test('a prompt goes in pieces of 512 tokens at most, which bounds what it takes', () => {
  const limits = { minStorageBufferOffsetAlignment: 256 };
  expect(tokensAtOnce(graph, { bindingLimit: 2 ** 31, limits })).toBe(512);
  expect(tokensAtOnce(graph, { bindingLimit: 1, limits })).toBe(1);
});

test('of the kinds of batches the one that was not used for longest goes first', async () => {
  const decoder = new Decoder(gpu, graph, weights);
  const kinds = [16, 17, 18, 19] as const;
  const first = await Promise.all(kinds.map((tokens) => decoder.record(tokens, { lastOnly: true })));
  expect(await decoder.record(16, { lastOnly: true })).toBe(first[0]);
  await decoder.record(20, { lastOnly: true });
  expect(await decoder.record(16, { lastOnly: true })).toBe(first[0]);
  expect(await decoder.record(17, { lastOnly: true })).not.toBe(first[1]);
  decoder.release();
});

test('sums in f16 are those of its kernel where the device has f16, and refused elsewhere', async () => {
  expect(() => new Decoder(gpu, graph, weights, { sums: 'f8' as 'f16' })).toThrow(/sums: there are none in "f8"/);
  if (!gpu.features.has('shader-f16')) {
    expect(() => new Decoder(gpu, graph, weights, { sums: 'f16' })).toThrow(NoDeviceError);
    return;
  }
  const asked: Need[] = [];
  const tuner: VariantChoice = {
    prepare: async (needs) => void asked.push(...needs),
    linear: () => undefined,
    attention: () => undefined,
  };
  const [exact, rounded] = [new Decoder(gpu, graph, weights), new Decoder(gpu, graph, weights, { sums: 'f16', tuner })];
  const [one, other] = [await logitsOf(exact, prompt), await logitsOf(rounded, prompt)];
  const worst = one.reduce(
    (most, x, i) => Math.max(most, Number.isNaN(other[i]!) ? Infinity : Math.abs(other[i]! - x)),
    0,
  );
  // 32 products at a time have 11 bits; f32 alone would be a thousand times as near.
  expect(worst).toBeGreaterThan(1e-3);
  expect(worst).toBeLessThan(0.3);
  const { batch } = await rounded.record(prompt.length);
  const names = batch.steps.map(({ kernel }) => kernel.source.name);
  expect(names.filter((name) => /^linear\/(half|subgroup_matrix)/.test(name)).length).toBeGreaterThanOrEqual(
    4 * graph.layers,
  );
  // The tuner is not asked for what it may not choose, but for single tokens.
  expect(asked.filter(({ kind }) => kind === 'linear')).toEqual([]);
  await rounded.record(1);
  expect(asked.filter(({ kind }) => kind === 'linear').length).toBeGreaterThan(0);
  exact.release();
  rounded.release();
});
