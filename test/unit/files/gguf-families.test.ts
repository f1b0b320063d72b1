/** Models of each family go from a folder into a GGUF file and come back: the same config, the same values. */
import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { architectureByName, architectureOf } from '../../../src/files/gguf/architectures.ts';
import { configOf } from '../../../src/files/gguf/config-read.ts';
import { ggufConfigOf } from '../../../src/files/gguf/config-write.ts';
import { f32, type GgufEntry, text, u32 } from '../../../src/files/gguf/entries.ts';
import { ggmlTypeByName } from '../../../src/files/gguf/ggml-types.ts';
import { readGguf } from '../../../src/files/gguf/read.ts';
import { ggufName, huggingFaceName } from '../../../src/files/gguf/tensor-names.ts';
import { writeGguf } from '../../../src/files/gguf/write.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { JsonObject } from '../../../src/files/strict-json.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress } from '../../../src/passes/compress.ts';
import { findWeight, readValues } from '../../../src/passes/stored-weight.ts';

const sizes = {
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  vocab_size: 40,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 50000,
};
const silu = { hidden_act: 'silu', attention_bias: false };
const gelu = { hidden_activation: 'gelu_pytorch_tanh', attention_bias: false, tie_word_embeddings: true };
const layers = (types: string) =>
  [...types].map((type) => (type === 's' ? 'sliding_attention' : 'full_attention')) satisfies string[];

/** As publishers write them, in the fields that say what the model is. */
const configs: Record<string, JsonObject> = {
  Llama: {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    ...sizes,
    ...silu,
    mlp_bias: false,
    tie_word_embeddings: false,
  },
  Mistral: {
    architectures: ['MistralForCausalLM'],
    model_type: 'mistral',
    ...sizes,
    hidden_act: 'silu',
    sliding_window: 20,
    tie_word_embeddings: false,
  },
  'Qwen 2': {
    architectures: ['Qwen2ForCausalLM'],
    model_type: 'qwen2',
    ...sizes,
    hidden_act: 'silu',
    rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 },
    tie_word_embeddings: true,
  },
  'Qwen 3': {
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    ...sizes,
    ...silu,
    tie_word_embeddings: true,
  },
  'SmolLM 3': {
    architectures: ['SmolLM3ForCausalLM'],
    model_type: 'smollm3',
    ...sizes,
    ...silu,
    mlp_bias: false,
    no_rope_layers: [1, 1, 1, 0, 1],
    no_rope_layer_interval: 4,
    use_sliding_window: false,
    tie_word_embeddings: true,
  },
  'Gemma 1': { architectures: ['GemmaForCausalLM'], model_type: 'gemma', ...sizes, ...gelu },
  'Gemma 2': {
    architectures: ['Gemma2ForCausalLM'],
    model_type: 'gemma2',
    ...sizes,
    ...gelu,
    sliding_window: 24,
    layer_types: layers('sfsfs'),
    query_pre_attn_scalar: 32,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30.5,
  },
  'Gemma 3': {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    ...sizes,
    ...gelu,
    num_hidden_layers: 7,
    sliding_window: 24,
    layer_types: layers('sssssfs'),
    query_pre_attn_scalar: 32,
    rope_scaling: { rope_type: 'linear', factor: 8 },
    rope_local_base_freq: 20000,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
  },
  'Gemma 3 with shorter turns': {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    ...sizes,
    ...gelu,
    sliding_window: 24,
    layer_types: layers('ssfss'),
    query_pre_attn_scalar: 32,
    rope_local_base_freq: 10000,
    attn_logit_softcapping: null,
    final_logit_softcapping: 20,
  },
};

/** Nothing is quantized, so that only its limits are looked at. */
const noGpu = { bindingLimit: 2 ** 27, memory: { budget: 2 ** 30, bytesInUse: 0 } } as unknown as Gpu;

/** A folder whose tensors all differ, norms as training leaves them: on bf16's steps. */
async function folderOf(config: JsonObject) {
  const { weights } = graphOf(config, 'config.json');
  const sink = memorySink();
  const writer = await writeSafetensors(
    sink,
    weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const })),
  );
  let seed = 1;
  const next = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    // No zero with a sign, which adding 1 loses.
    return Math.round((seed / 2 ** 32 - 0.5) * 512) / 256 + 0;
  };
  for (const { name, shape } of weights) {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, next);
    await writer.write(name, new Uint8Array(values.buffer));
  }
  await writer.finish();
  return memoryFolder('model', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
}

async function toGguf(source: Parameters<typeof compress>[0]) {
  const sink = memorySink('model.gguf');
  await compress(source, sink, { gpu: noGpu, format: 'keep' });
  return sink.bytes();
}

describe.each(Object.entries(configs))('%s', (_, config) => {
  test('comes back from a GGUF file with its config and every value', async () => {
    const folder = await folderOf(config);
    const original = await openCheckpoint(folder);
    const read = await openCheckpoint(memorySource('model.gguf', await toGguf(folder)));
    expect(read.configProblem).toBeUndefined();
    expect(read.config).toEqual({ ...unsaid(read.config!, config), ...config });
    const graph = graphOf(read.config, 'config.json');
    expect(graph).toEqual(graphOf(config, 'config.json'));
    expect([...read.tensors.keys()].sort()).toEqual([...original.tensors.keys()].sort());
    for (const { name } of graph.weights) {
      const wanted = await readValues(original, findWeight(original, name));
      const got = await readValues(read, findWeight(read, name));
      // Of the bytes: vitest compares long arrays element by element.
      expect(Buffer.compare(new Uint8Array(got.buffer), new Uint8Array(wanted.buffer)), name).toBe(0);
    }
  });

  test('is the same file again when it is copied', async () => {
    const first = await toGguf(await folderOf(config));
    expect(Buffer.compare(await toGguf(memorySource('model.gguf', first)), first)).toBe(0);
  });
});

/** Fields that reading adds where the publisher left the default unsaid. */
function unsaid(read: JsonObject, config: JsonObject): JsonObject {
  const known = ['attention_bias', 'mlp_bias'];
  return Object.fromEntries(known.flatMap((key) => (key in read && !(key in config) ? [[key, false]] : [])));
}

const written = (config: JsonObject) => ggufConfigOf(config, architectureOf(config)!, 'config.json');
const valueAt = (entries: readonly GgufEntry[], key: string) => {
  const entry = entries.find((each) => each.key === key);
  return entry && 'value' in entry ? entry.value : undefined;
};

test('a width for each layer is one where all are alike, and no number where they differ', () => {
  const config = configs.Llama!;
  const wide = (widths: number[]) => written({ ...config, intermediate_size: widths });
  expect(wide([96, 96, 96, 96, 96])).toEqual(written(config));
  expect(() => wide([96, 96, 64, 96, 96])).toThrow(/intermediate_size .* is no number/);
  expect(() => wide([])).toThrow(/intermediate_size .* is no number/);
});

describe('what a family takes for granted', () => {
  test.each([
    ['gemma', 'blk.1.ffn_norm.weight', 'model.layers.1.post_attention_layernorm.weight'],
    ['gemma2', 'blk.1.post_attention_norm.weight', 'model.layers.1.post_attention_layernorm.weight'],
    ['gemma2', 'blk.1.ffn_norm.weight', 'model.layers.1.pre_feedforward_layernorm.weight'],
    ['gemma3', 'blk.1.post_ffw_norm.weight', 'model.layers.1.post_feedforward_layernorm.weight'],
    ['gemma3', 'blk.1.attn_q_norm.weight', 'model.layers.1.self_attn.q_norm.weight'],
  ])('in %s the tensor %s is %s', (architecture, gguf, huggingFace) => {
    const { postNorms } = architectureByName(architecture)!;
    expect(huggingFaceName(gguf, postNorms)).toBe(huggingFace);
    expect(ggufName(huggingFace, postNorms)).toBe(gguf);
  });

  test('a norm of Gemma is stored as the factor itself, one of Llama as it is', async () => {
    for (const [family, added] of [
      ['Gemma 1', 1],
      ['Gemma 2', 1],
      ['Gemma 3', 1],
      ['SmolLM 3', 0],
    ] as const) {
      const folder = await folderOf(configs[family]!);
      const original = await openCheckpoint(folder);
      const { tensors, rows } = await readGguf(memorySource('model.gguf', await toGguf(folder)));
      const tensor = tensors.get('output_norm.weight')!;
      const stored = new Float32Array((await rows(tensor, 0, 64)).buffer);
      const values = await readValues(original, findWeight(original, 'model.norm.weight'));
      expect(stored, family).toEqual(values.map((x) => x + added));
    }
  });

  test('a norm of Gemma that is stored as f16 is read as f32', async () => {
    const { entries } = written(configs['Gemma 1']!);
    const sink = memorySink('model.gguf');
    const spec = { name: 'output_norm.weight', type: ggmlTypeByName('f16')!, shape: [2] };
    const writer = await writeGguf(sink, [text('general.architecture', 'gemma'), ...entries], [spec]);
    // 1 + 2^-10, and 0.5.
    await writer.write(spec.name, Uint8Array.of(0x01, 0x3c, 0x00, 0x38));
    await writer.finish();
    const read = await openCheckpoint(memorySource('model.gguf', sink.bytes()));
    expect(read.tensors.get('model.norm.weight')).toMatchObject({ type: 'F32', byteLength: 8 });
    const values = await readValues(read, findWeight(read, 'model.norm.weight'));
    expect([...values]).toEqual([2 ** -10, -0.5]);
  });

  test('something can be added to f32 alone', async () => {
    const spec = { name: 'w', type: ggmlTypeByName('f16')!, shape: [2], addend: 1 };
    await expect(writeGguf(memorySink('model.gguf'), [], [spec])).rejects.toThrow(/only to values of f32/);
  });

  test('sizes, waves and the head have the defaults of the family', () => {
    const { head_dim: _, rope_theta: _theta, max_position_embeddings: _positions, ...few } = sizes;
    const [gemma, smollm] = ['Gemma3ForCausalLM', 'SmolLM3ForCausalLM'].map((name) =>
      written({ architectures: [name], ...few }),
    );
    expect(gemma).toMatchObject({ headDim: 256, tiedHead: true });
    expect(smollm).toMatchObject({ headDim: 16, tiedHead: true });
    const keys = ['gemma3.rope.freq_base', 'gemma3.rope.freq_base_swa', 'gemma3.context_length'];
    expect(keys.map((key) => valueAt(gemma!.entries, key))).toEqual([1e6, 10000, 131072]);
    expect(valueAt(gemma!.entries, 'gemma3.attention.sliding_window')).toBe(4096);
    expect(valueAt(smollm!.entries, 'smollm3.rope.freq_base')).toBe(2e6);
    const two = written({ architectures: ['Gemma2ForCausalLM'], ...few }).entries;
    expect(valueAt(two, 'gemma2.attn_logit_softcapping')).toBe(50);
    expect(valueAt(two, 'gemma2.final_logit_softcapping')).toBe(30);
  });

  test('the pattern of windows is written where it is not the implied one', () => {
    const key = 'gemma3.attention.sliding_window_pattern';
    expect(valueAt(written(configs['Gemma 3']!).entries, key)).toBeUndefined();
    expect(valueAt(written(configs['Gemma 3 with shorter turns']!).entries, key)).toBe(3);
    const { layer_types: _, ...rest } = configs['Gemma 3']!;
    expect(valueAt(written(rest).entries, key)).toBeUndefined();
    expect(valueAt(written({ ...rest, sliding_window_pattern: 4 }).entries, key)).toBe(4);
    const whole = written({ ...rest, layer_types: layers('fffffff') }).entries;
    expect(valueAt(whole, 'gemma3.attention.sliding_window')).toBeUndefined();
  });

  test('both ways of writing the waves of Gemma 3 give one file', () => {
    const { rope_theta, rope_scaling, rope_local_base_freq, ...rest } = configs['Gemma 3']!;
    const rope_parameters = {
      full_attention: { ...(rope_scaling as JsonObject), rope_theta },
      sliding_attention: { rope_type: 'default', rope_theta: rope_local_base_freq! },
    } as JsonObject;
    expect(written({ ...rest, rope_parameters }).entries).toEqual(written(configs['Gemma 3']!).entries);
  });

  test('queries of the largest Gemmas are scaled by the shared width', () => {
    const large = { ...configs['Gemma 3']!, num_hidden_layers: 62, layer_types: null };
    expect(() => written({ ...large, query_pre_attn_scalar: 32 })).toThrow(/query_pre_attn_scalar 32 .* 16/);
    expect(written({ ...large, query_pre_attn_scalar: 16 }).entries.length).toBeGreaterThan(12);
  });
});

describe('what llama.cpp would take for another model is refused:', () => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 };
  const llama3 = {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
  };
  test.each<[string, string, JsonObject, RegExp]>([
    ['biases', 'Gemma 1', { attention_bias: true }, /attention_bias/],
    ['biases', 'Qwen 3', { attention_bias: true }, /attention_bias/],
    ['biases', 'SmolLM 3', { mlp_bias: true }, /biases/],
    ['a head apart', 'Gemma 1', { tie_word_embeddings: false }, /a head apart/],
    ['a head apart', 'Gemma 2', { tie_word_embeddings: false }, /a head apart/],
    ['no caps', 'Gemma 2', { attn_logit_softcapping: null }, /no cap/],
    ['no window', 'Gemma 2', { sliding_window: null }, /no window/],
    ['a cap', 'Gemma 3', { attn_logit_softcapping: 20 }, /scores have a cap/],
    ['another scale', 'Gemma 2', { query_pre_attn_scalar: 144 }, /query_pre_attn_scalar 144/],
    ['layers in disorder', 'Gemma 3', { layer_types: layers('sfssfff') }, /layer_types/],
    [
      'local layers that are scaled',
      'Gemma 3',
      { rope_parameters: { full_attention: {}, sliding_attention: yarn } },
      /scaled in layers/,
    ],
    ['YaRN where layers differ', 'Gemma 3', { rope_scaling: yarn }, /"yarn"/],
    ['other still layers', 'SmolLM 3', { no_rope_layers: [1, 1, 0, 1, 1] }, /without positions/],
    ['another interval', 'SmolLM 3', { no_rope_layers: null, no_rope_layer_interval: 3 }, /without positions/],
    ['a window', 'SmolLM 3', { use_sliding_window: true, sliding_window: 8 }, /window/],
    ['factors', 'Qwen 3', { rope_scaling: llama3 }, /"llama3"/],
    ["YaRN's own factor", 'Qwen 2', { rope_scaling: { ...yarn, attention_factor: 2 } }, /attention_factor 2/],
    ["YaRN's scales", 'Qwen 2', { rope_scaling: { ...yarn, mscale: 1, mscale_all_dim: 0.5 } }, /mscale/],
    ["YaRN's open bounds", 'Qwen 2', { rope_scaling: { ...yarn, truncate: false } }, /truncate/],
  ])('%s in %s', (_, family, changes, message) => {
    const config = { ...configs[family]!, ...changes };
    expect(() => written(config)).toThrow(ModelError);
    expect(() => written(config)).toThrow(message);
    // The model itself makes sense.
    if (!('sliding_attention' in ((changes.rope_parameters as JsonObject) ?? {}))) graphOf(config, 'config.json');
  });

  test('the factor that YaRN has anyway may be said', () => {
    const rope_scaling = { ...yarn, attention_factor: 0.1 * Math.log(4) + 1 };
    expect(written({ ...configs['Qwen 2']!, rope_scaling }).entries).toEqual(written(configs['Qwen 2']!).entries);
  });
});

describe('the chat template of a folder', () => {
  const tokenizer = {
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
  };
  const named = (...names: string[]) => names.map((name) => ({ name, template: `of ${name}` }));
  /** The template in the file that such a folder becomes. */
  async function templateOf(sideFiles: Record<string, unknown>): Promise<unknown> {
    const folder = await folderOf(configs.Llama!);
    const files: Record<string, string | Uint8Array> = { 'tokenizer.json': JSON.stringify(tokenizer) };
    for (const name of ['config.json', 'model.safetensors']) {
      const source = await folder.open(name);
      files[name] = await source.read(0, source.size);
    }
    for (const [name, content] of Object.entries(sideFiles)) {
      files[name] = typeof content === 'string' ? content : JSON.stringify(content);
    }
    const gguf = await openCheckpoint(memorySource('model.gguf', await toGguf(memoryFolder('model', files))));
    const config = JSON.parse(new TextDecoder().decode(await gguf.fileBytes('tokenizer_config.json')));
    return config.chat_template;
  }

  test.each<[string, Record<string, unknown>, unknown]>([
    ['in the file of the tokenizer', { 'tokenizer_config.json': { chat_template: 'from config' } }, 'from config'],
    ['in chat_template.json', { 'chat_template.json': { chat_template: 'from json' } }, 'from json'],
    ['in chat_template.jinja', { 'chat_template.jinja': '{# from jinja: é #}' }, '{# from jinja: é #}'],
    [
      'in several files',
      {
        'chat_template.jinja': 'from jinja',
        'chat_template.json': { chat_template: 'from json' },
        'tokenizer_config.json': { chat_template: 'from config' },
      },
      'from jinja',
    ],
    [
      'in a list of named ones',
      { 'tokenizer_config.json': { chat_template: named('tool_use', 'default') } },
      'of default',
    ],
    ['that is not there', { 'tokenizer_config.json': { chat_template: null } }, undefined],
  ])('%s goes into the GGUF file', async (_, files, expected) => {
    expect(await templateOf(files)).toBe(expected);
  });

  test('that is none is refused', async () => {
    const files = { 'chat_template.json': { chat_template: named('tool_use', 'rag') } };
    await expect(templateOf(files)).rejects.toThrow(/model\/chat_template\.json: none of the templates/);
  });
});

test.each(['llama', 'smollm3', 'gemma2', 'gemma3'])('layers without end in a file of %s make no list', async (name) => {
  const entries = [
    ['block_count', 4294967295],
    ['context_length', 64],
    ['embedding_length', 32],
    ['feed_forward_length', 64],
    ['attention.head_count', 2],
  ].map(([key, value]) => u32(`${name}.${key}`, value as number));
  const sink = memorySink('model.gguf');
  const epsilon = f32(`${name}.attention.layer_norm_rms_epsilon`, 1e-6);
  const writer = await writeGguf(sink, [text('general.architecture', name), ...entries, epsilon], []);
  await writer.finish();
  const file = await readGguf(memorySource('model.gguf', sink.bytes()));
  await expect(configOf(file, architectureByName(name)!)).rejects.toThrow(/block_count .* 4294967295; .* at most 1024/);
});
