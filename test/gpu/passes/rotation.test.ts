import { afterAll, beforeAll, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { openModel } from '../../../src/model.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { verify } from '../../../src/verify/verify.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { randomWeights } from '../random-weights.ts';

const VOCABULARY = 97;
const sizes = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
};
const tokens = Array.from({ length: 9 }, (_, i) => (i * 37 + 5) % VOCABULARY);

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

async function randomModel(architecture: string, fields: object): Promise<ModelFiles> {
  const config = { architectures: [`${architecture}ForCausalLM`], ...sizes, ...fields };
  const graph = graphOf(config, 'config.json');
  const random = randomWeights(gpu, graph, 3);
  random.release();
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) await writer.write(name, new Uint8Array(random.values(name).buffer));
  await writer.finish();
  return memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
}

const foldered = (files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) =>
  memoryFolder('rotated', Object.fromEntries(files));

async function referenceLogits(checkpoint: Checkpoint): Promise<Float64Array> {
  const graph = modelGraph(checkpoint);
  return new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph)).forward(tokens);
}

/** What the model that the files hold computes on the GPU. */
async function gpuLogits(files: ModelFiles | ReturnType<typeof memorySource>): Promise<Float32Array> {
  const model = await openModel(files, { gpu });
  const { logits } = await model.decoder.forward(tokens);
  const values = new Float32Array((await gpu.readBack(logits.buffer, 0, 4 * tokens.length * VOCABULARY)).buffer);
  await model.close();
  return values;
}

function distance(wanted: Float64Array, got: ArrayLike<number>): number {
  expect(got.length).toBe(wanted.length);
  const scale = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return (
    wanted.reduce((most, x, i) => Math.max(most, Number.isFinite(got[i]!) ? Math.abs(x - got[i]!) : Infinity), 0) /
    scale
  );
}

test.each<[string, string, object, boolean]>([
  ['Llama with biases', 'Llama', { attention_bias: true, mlp_bias: true }, true],
  ['Qwen 3, tied', 'Qwen3', { tie_word_embeddings: true }, true],
  ['Gemma 1', 'Gemma', { num_key_value_heads: 1 }, false],
])('%s, written rotated, computes the same', async (_, architecture, fields, inner) => {
  const model = await randomModel(architecture, fields);
  const output = memoryOutput();
  const { recipe, tensors, bytesBefore } = await compress(model, output, {
    gpu,
    format: 'keep',
    rotation: { seed: 5, inner },
  });
  expect(recipe.rotation).toEqual({ seed: 5, inner });
  const original = await openCheckpoint(model);
  expect(bytesBefore).toBe([...original.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0));
  const head = tensors.find(({ name }) => name === 'lm_head.weight');
  expect(head?.bytesBefore).toBe(original.tensors.has('lm_head.weight') ? 4 * VOCABULARY * 48 : 0);
  const files = foldered(output.files);
  const written = await openCheckpoint(files, { checkWeight });
  expect(written.config?.tie_word_embeddings).toBe(false);
  expect(written.tree?.graph).toEqual({ rotation: { seed: 5, block: 16 }, ...(inner && { hadamard: { ffn: 16 } }) });
  const wanted = await referenceLogits(original);
  // As in the tests of families: f32 through a few layers.
  expect(distance(wanted, await referenceLogits(written))).toBeLessThan(1e-5);
  expect(distance(wanted, await gpuLogits(files))).toBeLessThan(1e-4);
  // Without what the tree says of the graph it would be another model.
  const blind = { ...written, tree: undefined };
  if (inner) expect(distance(wanted, await referenceLogits(blind))).toBeGreaterThan(0.01);
});

test('quantized and calibrated, it is verified as any other, and keeps its graph when it is written again', async () => {
  const model = await randomModel('Llama', { hidden_size: 64, intermediate_size: 96, tie_word_embeddings: true });
  const output = memoryOutput();
  const windows = [Uint32Array.from(tokens), Uint32Array.from(tokens, (token) => (token * 5 + 1) % VOCABULARY)];
  const recipe = {
    version: 1 as const,
    rules: [{ match: '*', role: 'linear' as const, format: 'q8_0' }],
    rotation: { seed: 2, inner: true },
  };
  const report = await compress(model, output, { gpu, recipe, calibration: { windows } });
  expect(report.tensors.filter(({ format, error }) => format === 'q8_0' && error)).toHaveLength(2 * 7);
  const again = memoryOutput();
  await compress(foldered(output.files), again, { gpu, format: 'keep' });
  const [original, compressed] = [
    await openCheckpoint(model),
    await openCheckpoint(foldered(again.files), { checkWeight }),
  ];
  expect(compressed.tree?.graph).toEqual({ rotation: { seed: 2, block: 64 }, hadamard: { ffn: 32 } });
  const text = Uint32Array.from({ length: 96 }, (_, i) => (i * 29 + 3) % VOCABULARY);
  const found = await verify(original, compressed, { gpu, tokens: text, window: 16, windows: 4, speed: false });
  // Eight bits lose little of random weights; the control shows that it could be seen.
  expect(found.accuracy!.perplexity.compressed! / found.accuracy!.perplexity.original).toBeCloseTo(1, 1);
  const passed = Object.fromEntries(found.checks.map(({ name, passed }) => [name, passed]));
  expect(passed).toMatchObject({
    'finite weights': true,
    'finite values': true,
    'kernel error': true,
    'finite logits': true,
  });
  // Weights of the two have nothing to do with each other, nor have layers.
  expect(found.size.tensors.every(({ relativeError }) => relativeError === null)).toBe(true);
  expect(found.accuracy!.sensitivity).toEqual([]);
  expect(found.notes.join('\n')).toContain('One of the models is rotated');
});

test('a GGUF file of a rotated model is read as what it is', async () => {
  const model = await randomModel('Qwen3', { tie_word_embeddings: true });
  const sink = memorySink('model.gguf');
  await compress(model, sink, { gpu, format: 'keep', rotation: { seed: 9 } });
  const bytes = sink.bytes();
  const written = await openCheckpoint(memorySource('model.gguf', bytes));
  expect(written.tree?.graph).toEqual({ rotation: { seed: 9, block: 16 } });
  // What the file says of its graph is checked as all else.
  const damaged = bytes.slice();
  const block = '"block":16';
  damaged[new TextDecoder('latin1').decode(bytes).indexOf(block) + block.length - 1] = '7'.charCodeAt(0);
  await expect(openCheckpoint(memorySource('model.gguf', damaged))).rejects.toThrow(
    /compressa\.graph: "graph", at "rotation\.block": "must be a power of two"/,
  );
  const wanted = await referenceLogits(await openCheckpoint(model));
  expect(distance(wanted, await gpuLogits(memorySource('model.gguf', bytes)))).toBeLessThan(1e-4);
});

test('refusals', async () => {
  const model = await randomModel('Llama', {});
  const inner = planCompression(model, { format: 'keep', output: 'gguf', rotation: { seed: 1, inner: true } });
  await expect(inner).rejects.toThrow(ModelError);
  await expect(inner).rejects.toThrow(/GGUF has no words for Hadamard transforms/);
  const recipe = { version: 1 as const, rules: [] };
  await expect(planCompression(model, { recipe, rotation: { seed: 1 } })).rejects.toThrow(
    /a recipe has a key "rotation"/,
  );
  const bad = { ...recipe, rotation: { seed: 1, iner: true } as { seed: number } };
  await expect(planCompression(model, { recipe: bad })).rejects.toThrow(/unknown key "iner".*Did you mean "inner"/);
  await expect(
    planCompression(await randomModel('Gemma2', {}), { rotation: { seed: 1 }, format: 'keep' }),
  ).rejects.toThrow(/random: this model can't be rotated: the scale of/);
  const tensors = memorySource('bare.safetensors', await bare());
  await expect(planCompression(tensors, { rotation: { seed: 1 } })).rejects.toThrow(/bare tensors can't be rotated/);
  const output = memoryOutput();
  const even = await randomModel('Llama', { hidden_size: 64, intermediate_size: 96 });
  await compress(even, output, { gpu, format: 'q8_0' });
  await expect(planCompression(foldered(output.files), { format: 'keep', rotation: { seed: 1 } })).rejects.toThrow(
    /is q8_0: only a model that is not compressed can be rotated/,
  );
});

async function bare(): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink();
  const writer = await writeSafetensors(sink, [{ name: 'w', shape: [2, 2], type: 'F32' }]);
  await writer.write('w', new Uint8Array(16));
  await writer.finish();
  return sink.bytes();
}
