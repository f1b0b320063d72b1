import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { graphOf } from '../../src/models/families.ts';
import { compress } from '../../src/passes/compress.ts';
import { verify } from '../../src/verify/verify.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomWeights } from './random-weights.ts';

const VOCABULARY = 97;
const sizes = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
};
const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};
const yarn = { type: 'yarn', factor: 4, original_max_position_embeddings: 16 };

/** Windows are shorter than the text, and layers of all kinds a family has occur. */
const models: [string, string, object][] = [
  ['Llama with biases and a head of its own', 'Llama', { attention_bias: true, mlp_bias: true }],
  ['Llama 3 with long waves, tied', 'Llama', { rope_scaling: llama3, tie_word_embeddings: true }],
  // A head of 10 and rows of 30: neither is a multiple of what kernels like.
  ['Llama of odd sizes', 'Llama', { hidden_size: 30, head_dim: 10, num_attention_heads: 5, num_key_value_heads: 1 }],
  ['Llama of one head a group', 'Llama', { num_attention_heads: 3, num_key_value_heads: 3 }],
  ['Mistral', 'Mistral', { sliding_window: 5 }],
  ['Mistral without a window', 'Mistral', { sliding_window: null }],
  ['Qwen 2 with YaRN', 'Qwen2', { rope_scaling: yarn, rope_theta: 1e6 }],
  ['Qwen 2 with a window', 'Qwen2', { use_sliding_window: true, sliding_window: 4, max_window_layers: 1 }],
  ['Qwen 3', 'Qwen3', { tie_word_embeddings: true }],
  ['SmolLM 3', 'SmolLM3', { no_rope_layers: [1, 0, 1] }],
  ['Gemma 1, one key head', 'Gemma', { num_key_value_heads: 1 }],
  // A cap that bends most scores.
  ['Gemma 2', 'Gemma2', { sliding_window: 5, query_pre_attn_scalar: 12, attn_logit_softcapping: 2 }],
  ['Gemma 3', 'Gemma3', { sliding_window: 5, sliding_window_pattern: 2, rope_scaling: { type: 'linear', factor: 8 } }],
];

/** Two prefills, the second behind the first, and decoding. */
const PIECES = [9, 6, 1, 1, 1];
const tokens = Array.from({ length: 18 }, (_, i) => (i * 37 + 5) % VOCABULARY);

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

test.each(models)(
  '%s: every value of every piece agrees with the f64 reference, and the logits where operations are fused',
  async (_, architecture, fields) => {
    const graph = graphOf({ architectures: [`${architecture}ForCausalLM`], ...sizes, ...fields }, 'config.json');
    const random = randomWeights(gpu, graph, 7);
    const decoder = new Decoder(gpu, graph, random.weights);
    const fused = new Decoder(gpu, graph, random.weights);
    const reference = new ReferenceRun(graph, random.values);
    let start = 0;
    let compared = 0;
    for (const count of PIECES) {
      const piece = tokens.slice(start, start + count);
      const { values, steps: unfused } = await decoder.forward(piece, { keepValues: true });
      const expected = new Map<string, Float64Array>();
      reference.forward(piece, { onValue: (_, name, value) => expected.set(name, value.slice()) });
      expect([...values.keys()]).toEqual([...expected.keys()]);
      for (const [name, view] of values) {
        const got = new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
        const wanted = expected.get(name)!;
        expect(got.length, name).toBe(wanted.length);
        const scale = Math.max(...wanted.map(Math.abs));
        const worst = wanted.reduce(
          (most, x, i) => Math.max(most, Number.isFinite(got[i]!) ? Math.abs(got[i]! - x) : Infinity),
          0,
        );
        // f32 sums of up to 96 products through 3 layers, which norms rescale: 1e-4 of the value's own range is a thousand roundings.
        expect(worst / scale, `${name} from ${start}`).toBeLessThan(1e-4);
        compared++;
      }
      const { logits, steps } = await fused.forward(piece);
      const got = new Float32Array((await gpu.readBack(logits.buffer, 0, logits.size)).buffer);
      const wanted = expected.get(graph.logits)!;
      const scale = Math.max(...wanted.map(Math.abs));
      for (const [i, value] of wanted.entries()) {
        if (!(Math.abs(got[i]! - value) < 1e-4 * scale)) {
          expect.fail(`fused logit ${i} from ${start} is ${got[i]} instead of ${value}`);
        }
      }
      expect(steps.length).toBeLessThan(unfused.length);
      start += count;
    }
    expect(compared).toBe(PIECES.length * graph.operations.length);
    decoder.release();
    fused.release();
    random.release();
  },
);

test.each(models.filter(([name]) => ['Qwen 3', 'SmolLM 3', 'Gemma 2', 'Gemma 3'].includes(name)))(
  '%s is compressed and verified within the memory that was estimated',
  async (_, architecture, fields) => {
    // Rows of a multiple of 32, which blocks need.
    const even = { hidden_size: 64, intermediate_size: 96, num_attention_heads: 4 };
    const config = { architectures: [`${architecture}ForCausalLM`], ...sizes, ...fields, ...even };
    const graph = graphOf(config, 'config.json');
    const random = randomWeights(gpu, graph, 3);
    random.release();
    const sink = memorySink();
    const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
    const writer = await writeSafetensors(sink, specs);
    for (const { name } of specs) await writer.write(name, new Uint8Array(random.values(name).buffer));
    await writer.finish();
    const model = memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
    const output = memoryOutput();
    const { tensors } = await compress(model, output, { gpu, format: 'q8_0' });
    expect(tensors.filter(({ format }) => format === 'q8_0')).toHaveLength(3 * 7);
    expect(tensors.filter(({ role, format }) => role === 'norm' && format !== 'f32')).toEqual([]);

    const original = await openCheckpoint(model);
    const compressed = await openCheckpoint(memoryFolder('q8_0', Object.fromEntries(output.files)));
    const before = gpu.memory.bytesInUse;
    gpu.memory.resetPeak();
    const text = Array.from({ length: 40 }, (_, i) => (i * 53 + 11) % VOCABULARY);
    const report = await verify(original, compressed, { gpu, tokens: text, window: 20, windows: 2, speed: false });
    expect(gpu.memory.bytesInUse).toBe(before);
    expect(gpu.memory.peakBytes - before).toBeLessThan(1.02 * report.memory.gpu.peak);
    const { kl, sensitivity } = report.accuracy!;
    // The model's text is random, so perplexities mean nothing; but 8 bits hardly move what it predicts.
    expect(kl!.mean).toBeLessThan(0.01);
    expect(sensitivity.map(({ layer }) => layer)).toEqual([0, 1, 2]);
  },
);
