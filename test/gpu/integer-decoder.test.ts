import { afterAll, beforeAll, expect, test } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import { formatByName } from '../../src/formats/registry.ts';
import { activationScales } from '../../src/formats/w8a8.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { uploadWeight } from '../../src/kernels/weight.ts';
import { graphOf } from '../../src/models/families.ts';
import { compress } from '../../src/passes/compress.ts';
import { verify } from '../../src/verify/verify.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomWeights } from './random-weights.ts';

const VOCABULARY = 97;
const config = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 48,
  intermediate_size: 81,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
  attention_bias: true,
};
const graph = graphOf(config, 'config.json');
const tokens = Array.from({ length: 18 }, (_, i) => (i * 37 + 5) % VOCABULARY);

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** About the largest magnitude that the random model's activations have, so that some are clipped. */
const ABSMAX = 3;

test.each(['w8a8', 'w8a8-static'])('%s: every value agrees with the f64 reference', async (name) => {
  const format = formatByName(name);
  const random = randomWeights(gpu, graph, 7);
  const weights = new Map(random.weights);
  const values = new Map<string, Float32Array>();
  const linear = graph.weights.filter(({ role }) => role === 'linear').map((weight) => weight.name);
  for (const { name: weight, shape } of graph.weights.filter((one) => linear.includes(one.name))) {
    const [rows, k] = shape as [number, number];
    const stored = { ...format.reference.quantize(random.values(weight), rows, k) };
    if (name === 'w8a8-static') stored.activations = activationScales(ABSMAX, rows);
    weights.set(weight, uploadWeight(gpu, format, rows, k, stored, weight));
    values.set(weight, format.reference.dequantize(stored, rows, k));
  }
  const decoder = new Decoder(gpu, graph, weights);
  const range = name === 'w8a8' ? {} : { scale: Math.fround(ABSMAX / 127) };
  const reference = new ReferenceRun(
    graph,
    (weight) => values.get(weight) ?? random.values(weight),
    (weight) => (linear.includes(weight) ? range : undefined),
  );
  let start = 0;
  for (const count of [9, 6, 1, 1, 1]) {
    const piece = tokens.slice(start, start + count);
    const batch = await decoder.forward(piece, { keepValues: true });
    // Once for queries, keys and values, for the output, for gate and up, and for down; a weight with a scale of its own by itself.
    const quantizing = batch.steps.filter(({ kernel }) => kernel.source.name.includes('activations')).length;
    expect(quantizing).toBe(3 * (name === 'w8a8' ? 4 : 7));
    const seen = new Map<string, Float32Array>();
    for (const [value, { buffer, size }] of batch.values) {
      seen.set(value, new Float32Array((await gpu.readBack(buffer, 0, size)).buffer));
    }
    reference.forward(piece, {
      seen,
      onValue: (_, value, wanted) => {
        const got = seen.get(value)!;
        expect(got.length, value).toBe(wanted.length);
        const scale = Math.max(...wanted.map(Math.abs));
        const worst = wanted.reduce((most, x, i) => Math.max(most, Math.abs(got[i]! - x) / scale), 0);
        // f32 rounding alone, as in families.test.ts: the codes are the same.
        expect(worst, `${value} from ${start}`).toBeLessThan(1e-4);
      },
    });
    start += count;
  }
  decoder.release();
  random.release();
  for (const weight of linear) weights.get(weight)!.release();
});

/** The random model as files. */
async function modelFiles() {
  const random = randomWeights(gpu, graph, 3);
  random.release();
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) await writer.write(name, new Uint8Array(random.values(name).buffer));
  await writer.finish();
  return memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
}

const text = Array.from({ length: 40 }, (_, i) => (i * 53 + 11) % VOCABULARY);
const calibration = { windows: [Uint32Array.from(text.slice(0, 20)), Uint32Array.from(text.slice(20))] };

test.each(['w8a8', 'w8a8-static'])(
  'a model is compressed to %s and verified within the memory that was estimated',
  async (format) => {
    const model = await modelFiles();
    const output = memoryOutput();
    const { tensors } = await compress(model, output, {
      gpu,
      format,
      ...(format === 'w8a8-static' && { calibration }),
    });
    expect(tensors.filter((tensor) => tensor.format === format)).toHaveLength(3 * 7);
    const original = await openCheckpoint(model);
    const compressed = await openCheckpoint(memoryFolder(format, Object.fromEntries(output.files)));
    const before = gpu.memory.bytesInUse;
    gpu.memory.resetPeak();
    const report = await verify(original, compressed, { gpu, tokens: text, window: 20, windows: 2, speed: false });
    expect(gpu.memory.bytesInUse).toBe(before);
    expect(gpu.memory.peakBytes - before).toBeLessThanOrEqual(report.memory.gpu.peak);
    expect(report.kernels!.maxRelativeError).toBeLessThan(1e-4);
    expect(report.accuracy!.kl!.mean).toBeLessThan(0.01);
  },
);

test('a scale of activations is stored only where a calibration shows them', async () => {
  const compressing = compress(await modelFiles(), memoryOutput(), { gpu, format: 'w8a8-static' });
  await expect(compressing).rejects.toThrow(FormatError);
  await expect(compressing).rejects.toThrow(/Give a calibration .*or take w8a8/);
});
