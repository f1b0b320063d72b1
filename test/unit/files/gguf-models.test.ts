import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { architectureByName, architectureOf } from '../../../src/files/gguf/architectures.ts';
import { configOf } from '../../../src/files/gguf/config-read.ts';
import { ggufConfigOf } from '../../../src/files/gguf/config-write.ts';
import { f32, type GgufEntry, i32s, text, texts, u32 } from '../../../src/files/gguf/entries.ts';
import { ggmlTypeByName } from '../../../src/files/gguf/ggml-types.ts';
import { shortest } from '../../../src/files/gguf/metadata.ts';
import { readGguf } from '../../../src/files/gguf/read.ts';
import { llama3Factors, llama3Scaling } from '../../../src/files/gguf/rope-factors.ts';
import { ggufName, huggingFaceName, rotatedRows } from '../../../src/files/gguf/tensor-names.ts';
import { readTokenizer, type TokenizerFiles } from '../../../src/files/gguf/tokenizer-read.ts';
import { tokenizerEntries } from '../../../src/files/gguf/tokenizer-write.ts';
import { writeGguf } from '../../../src/files/gguf/write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { JsonObject } from '../../../src/files/strict-json.ts';
import { sentencePieceTokenizer } from '../../../src/models/sentencepiece.ts';
import { loadTokenizer } from '../../../src/models/tokenizer.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const json = (name: string): JsonObject => JSON.parse(readFileSync(SAMPLE + name, 'utf8'));
const F32 = ggmlTypeByName('f32')!;

/** An open file with these keys, and f32 tensors of zeros or of the given values. */
async function file(entries: readonly GgufEntry[], tensors: Record<string, Float32Array | number> = {}) {
  const sink = memorySink('made.gguf');
  const values = Object.entries(tensors).map(([name, value]) => ({
    name,
    values: typeof value === 'number' ? new Float32Array(value) : value,
  }));
  const specs = values.map(({ name, values: { length } }) => ({ name, type: F32, shape: [length] }));
  const writer = await writeGguf(sink, entries, specs);
  for (const { name, values: each } of values) {
    await writer.write(name, new Uint8Array(each.buffer, each.byteOffset, each.byteLength));
  }
  await writer.finish();
  return readGguf(memorySource('made.gguf', sink.bytes()));
}

describe('names of tensors', () => {
  test.each([
    ['token_embd.weight', 'model.embed_tokens.weight'],
    ['output_norm.weight', 'model.norm.weight'],
    ['output.weight', 'lm_head.weight'],
    ['blk.0.attn_norm.weight', 'model.layers.0.input_layernorm.weight'],
    ['blk.11.attn_q.weight', 'model.layers.11.self_attn.q_proj.weight'],
    ['blk.11.attn_q.bias', 'model.layers.11.self_attn.q_proj.bias'],
    ['blk.3.attn_k_norm.weight', 'model.layers.3.self_attn.k_norm.weight'],
    ['blk.3.attn_output.weight', 'model.layers.3.self_attn.o_proj.weight'],
    ['blk.127.ffn_norm.weight', 'model.layers.127.post_attention_layernorm.weight'],
    ['blk.2.ffn_gate.weight', 'model.layers.2.mlp.gate_proj.weight'],
  ])('%s is %s', (gguf, huggingFace) => {
    expect(huggingFaceName(gguf)).toBe(huggingFace);
    expect(ggufName(huggingFace)).toBe(gguf);
  });

  test('that mean nothing to the other side have none there', () => {
    for (const name of [
      'blk.0.attn_qkv.weight',
      'blk.attn_q.weight',
      'blk.N.attn_q.weight',
      'token_embd',
      'blk.0.output.weight',
      '',
    ]) {
      expect(huggingFaceName(name), name).toBeUndefined();
    }
    expect(ggufName('model.layers.0.block_sparse_moe.gate.weight')).toBeUndefined();
    expect(rotatedRows('model.layers.0.self_attn.q_proj.bias')).toBe('queries');
    expect(rotatedRows('model.layers.0.self_attn.k_proj.weight')).toBe('keys');
    expect(rotatedRows('model.layers.0.self_attn.v_proj.weight')).toBeUndefined();
    expect(rotatedRows('model.layers.0.self_attn.q_norm.weight')).toBeUndefined();
  });
});

describe('the config', () => {
  const llama = architectureByName('llama')!;
  const tied = { 'token_embd.weight': 64 };

  test('of the sample model comes back', async () => {
    const original = json('config.json');
    const { entries, headDim, vocabulary } = ggufConfigOf(original, architectureOf(original)!, 'config.json');
    expect({ headDim, vocabulary }).toEqual({ headDim: 64, vocabulary: 4096 });
    const ids = [u32('tokenizer.ggml.bos_token_id', 0), u32('tokenizer.ggml.eos_token_id', 0)];
    const { torch_dtype: _, ...expected } = original;
    expect(await configOf(await file([...entries, ...ids], tied), llama)).toEqual(expected);
  });

  test.each<[string, JsonObject]>([
    ['linear', { rope_type: 'linear', factor: 4 }],
    ['yarn', { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 512, beta_fast: 16, beta_slow: 2 }],
  ])('keeps %s scaling', async (_name, rope_scaling) => {
    const { entries } = ggufConfigOf({ ...json('config.json'), rope_scaling }, llama, 'config.json');
    expect(await configOf(await file(entries, tied), llama)).toMatchObject({ rope_scaling });
  });

  test('keeps the scaling of Llama 3.1 in a tensor of factors', async () => {
    const rope_scaling = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const config = { ...json('config.json'), rope_theta: 500000, rope_scaling };
    const { entries, ropeFactors } = ggufConfigOf(config, llama, 'config.json');
    const read = await configOf(await file(entries, { ...tied, 'rope_freqs.weight': ropeFactors! }), llama);
    expect(read).toMatchObject({ rope_theta: 500000, rope_scaling });
  });

  test('knows the factors of Llama 3.1 by their ends and their middle', () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
    const factors = llama3Factors(scaling, 128, 500000);
    expect(factors).toHaveLength(64);
    expect(factors[0]).toBe(1);
    expect(factors[63]).toBe(8);
    // 2π · 500000^(i/64) lies between 8192/4 and 8192/1 for i from 29 to 34.
    const blended = [...factors].map((x, i) => (x > 1 && x < 8 ? i : -1)).filter((i) => i >= 0);
    expect(blended).toEqual([29, 30, 31, 32, 33, 34]);
    expect(llama3Scaling([...factors], 128, 500000)).toEqual(scaling);
    expect(llama3Scaling([...factors].reverse(), 128, 500000)).toBeUndefined();
    // Others are worked out, up to a common factor of low, high and length.
    const other = { factor: 4, low_freq_factor: 1, high_freq_factor: 2.5, original_max_position_embeddings: 100 };
    expect(llama3Scaling([...llama3Factors(other, 64, 10000)], 64, 10000)).toEqual(other);
    const doubled = { factor: 4, low_freq_factor: 2, high_freq_factor: 5, original_max_position_embeddings: 200 };
    expect(llama3Scaling([...llama3Factors(doubled, 64, 10000)], 64, 10000)).toEqual(other);
    for (const bad of [[], [1, 1, 8], [0, 0, 0], [1, 2, Number.NaN], [8, 4, 2]]) {
      expect(llama3Scaling(bad, 6, 10000), String(bad)).toBeUndefined();
    }
  });

  test('says what belongs to the kind of model', async () => {
    const base = (name: string) =>
      [
        ['block_count', 2],
        ['context_length', 64],
        ['embedding_length', 32],
        ['feed_forward_length', 64],
        ['attention.head_count', 2],
      ].map(([key, value]) => u32(`${name}.${key}`, value as number));
    const epsilon = (name: string) => f32(`${name}.attention.layer_norm_rms_epsilon`, 1e-6);
    const read = async (name: string, more: GgufEntry[] = [], tensors: Record<string, number> = tied) =>
      configOf(await file([...base(name), epsilon(name), ...more], tensors), architectureByName(name)!);
    expect(await read('llama', [u32('llama.attention.sliding_window', 32)])).toMatchObject({
      architectures: ['MistralForCausalLM'],
      sliding_window: 32,
      num_key_value_heads: 2,
      head_dim: 16,
      rope_theta: 10000,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      attention_bias: false,
    });
    expect(await read('llama', [], { ...tied, 'output.weight': 4, 'blk.0.attn_q.bias': 4 })).toMatchObject({
      architectures: ['LlamaForCausalLM'],
      tie_word_embeddings: false,
      attention_bias: true,
    });
    expect(await read('qwen2')).toMatchObject({ architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2' });
    expect(
      await read('qwen3', [u32('qwen3.attention.key_length', 24), u32('qwen3.attention.value_length', 24)]),
    ).toMatchObject({
      architectures: ['Qwen3ForCausalLM'],
      head_dim: 24,
    });
  });

  test('is written with what its family takes for granted', () => {
    const { head_dim: _, ...config } = json('config.json');
    const keys = (changes: JsonObject) => {
      const all: JsonObject = { ...config, ...changes };
      return ggufConfigOf(all, architectureOf(all)!, 'config.json').entries;
    };
    const window = (entries: readonly GgufEntry[]) => entries.find(({ key }) => key.endsWith('sliding_window'));
    const mistral = { architectures: ['MistralForCausalLM'] };
    expect(keys({ architectures: ['Qwen3ForCausalLM'] })).toContainEqual(u32('qwen3.attention.key_length', 128));
    expect(keys({ architectures: ['Qwen2ForCausalLM'] })).toContainEqual(u32('qwen2.attention.key_length', 64));
    expect(window(keys(mistral))).toEqual(u32('llama.attention.sliding_window', 4096));
    expect(window(keys({ ...mistral, sliding_window: null }))).toBeUndefined();
    expect(window(keys({ sliding_window: 64 }))).toBeUndefined();
    const qwen2 = { architectures: ['Qwen2ForCausalLM'], sliding_window: 64 };
    expect(window(keys(qwen2))).toBeUndefined();
    expect(() => keys({ ...qwen2, use_sliding_window: true })).toThrow(/window/);
  });

  test('that GGUF can not say is refused', () => {
    const config = json('config.json');
    const write = (changes: JsonObject) => () => ggufConfigOf({ ...config, ...changes }, llama, 'config.json');
    expect(write({ rope_scaling: { rope_type: 'dynamic', factor: 2 } })).toThrow(/"dynamic"/);
    expect(write({ rope_scaling: { rope_type: 'llama3', factor: 2 } })).toThrow(ModelError);
    expect(write({ hidden_size: '256' })).toThrow(/hidden_size is/);
    expect(architectureOf({ architectures: ['GPT2LMHeadModel'] })).toBeUndefined();
  });

  test('has decimals as people write them', () => {
    for (const x of [1e-5, 1e-6, 0.1, 12.345, 500000, 1]) expect(shortest(Math.fround(x))).toBe(x);
    expect(shortest(0.1)).toBe(0.1);
  });
});

describe('the tokenizer', () => {
  const target = { config: json('config.json'), vocabulary: 4096, name: 'union' };
  const TEXTS = ['My fellow citizens', ' and  spaces\n\n', 'naïve 東京 \u{1f999}', 'a<|endoftext|>b', "it's 1234"];

  async function roundTrip(files: TokenizerFiles, to = target): Promise<TokenizerFiles> {
    const read = await readTokenizer(await file(tokenizerEntries(files, to)));
    if ('problem' in read) throw new Error(read.problem);
    return read;
  }

  test('of the sample model comes back and cuts texts the same', async () => {
    const files = { tokenizer: json('tokenizer.json'), config: json('tokenizer_config.json') };
    const read = await roundTrip(files);
    expect((read.tokenizer.model as JsonObject).vocab).toEqual((files.tokenizer.model as JsonObject).vocab);
    expect(read.config).toMatchObject({ bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', add_bos_token: false });
    const [a, b] = [loadTokenizer(files.tokenizer, files.config), loadTokenizer(read.tokenizer, read.config)];
    for (const each of TEXTS) expect(b.encode(each)).toEqual(a.encode(each));
    expect(b.endOfText).toBe(a.endOfText);
  });

  const cl100k = (digits: string) =>
    `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
  const split = (Regex: string): JsonObject => ({
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  });
  test.each<[string, JsonObject, boolean?]>([
    ['llama-bpe', split(cl100k('\\p{N}{1,3}')), true],
    ['smaug-bpe', split(cl100k('\\p{N}{1,3}'))],
    ['qwen2', split(cl100k('\\p{N}'))],
    [
      'smollm',
      {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Digits', individual_digits: true },
          { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
        ],
      },
    ],
  ])(
    'that cuts as %s does is written as that, and read as it was',
    async (name, pre_tokenizer, ignore_merges = false) => {
      const sample = json('tokenizer.json');
      const tokenizer = { ...sample, model: { ...(sample.model as JsonObject), ignore_merges }, pre_tokenizer };
      const entries = tokenizerEntries({ tokenizer, config: json('tokenizer_config.json') }, target);
      expect(entries).toContainEqual(text('tokenizer.ggml.pre', name));
      const read = await roundTrip({ tokenizer, config: json('tokenizer_config.json') });
      expect((read.tokenizer.model as JsonObject).ignore_merges).toBe(ignore_merges);
      const [a, b] = [loadTokenizer(tokenizer), loadTokenizer(read.tokenizer)];
      for (const each of TEXTS) expect(b.encode(each), each).toEqual(a.encode(each));
    },
  );

  test('that cuts as nobody does is refused, and one that is not known is left out', async () => {
    const tokenizer = { ...json('tokenizer.json'), pre_tokenizer: split('.') };
    expect(() => tokenizerEntries({ tokenizer, config: {} }, target)).toThrow(/no name for the way/);
    const prefixed = { type: 'ByteLevel', add_prefix_space: true, use_regex: true };
    expect(() =>
      tokenizerEntries({ tokenizer: { ...tokenizer, pre_tokenizer: prefixed }, config: {} }, target),
    ).toThrow(ModelError);
    expect(() => tokenizerEntries({ tokenizer: { model: { type: 'WordPiece' } }, config: {} }, target)).toThrow(
      /"WordPiece"/,
    );
    expect(await readTokenizer(await file([text('tokenizer.ggml.model', 'bert')]))).toMatchObject({
      problem: /"bert"/,
    });
    expect(await readTokenizer(await file(tokenizerEntries(undefined, target)))).toMatchObject({
      problem: /no tokenizer/,
    });
  });

  test('fills up to the rows of the embedding, and knows the types of tokens', async () => {
    const tokenizer: JsonObject = {
      added_tokens: [
        { id: 2, content: '<s>', special: true },
        { id: 3, content: '<tool>', special: false },
      ],
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: {} }],
      },
      model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
    };
    const entries = tokenizerEntries(
      { tokenizer, config: { bos_token: { content: '<s>' }, chat_template: '{{ x }}' } },
      { config: { eos_token_id: [3, 2] }, vocabulary: 6, name: 'm' },
    );
    expect(entries).toContainEqual(texts('tokenizer.ggml.tokens', ['a', 'b', '<s>', '<tool>', '[PAD4]', '[PAD5]']));
    expect(entries).toContainEqual(i32s('tokenizer.ggml.token_type', [1, 1, 3, 4, 5, 5]));
    expect(entries).toContainEqual(u32('tokenizer.ggml.bos_token_id', 2));
    expect(entries).toContainEqual(u32('tokenizer.ggml.eos_token_id', 3));
    expect(entries).toContainEqual(expect.objectContaining({ key: 'tokenizer.ggml.add_bos_token', value: true }));
    expect(entries).toContainEqual(text('tokenizer.chat_template', '{{ x }}'));
    const small = { config: {}, vocabulary: 3, name: 'm' };
    expect(() => tokenizerEntries({ tokenizer, config: {} }, small)).toThrow(
      /"<tool>" has the id 3, but the embedding has 3 rows/,
    );
  });

  test('of SentencePiece comes back and cuts texts the same', async () => {
    const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
    const pieces = ['▁', 'l', 'o', 'w', 'e', 'r', 'lo', 'low', '▁low', 'er', '▁l', 'we'];
    const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...pieces];
    const types = tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1));
    const scores = tokens.map((_, id) => (id < 259 ? 0 : [0, 0, 0, 0, 0, 0, -1, -3, -4, -2, -5, -6][id - 259]!));
    const tokenizer = sentencePieceTokenizer({ tokens, types, scores }) as JsonObject;
    const config = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', add_bos_token: true };
    const read = await roundTrip({ tokenizer, config }, { config: {}, vocabulary: tokens.length, name: 'm' });
    expect(read.config).toMatchObject(config);
    const [a, b] = [loadTokenizer(tokenizer, config), loadTokenizer(read.tokenizer, read.config)];
    for (const each of ['lower low', 'wer é\n', 'slow lowwer', ''])
      expect(b.encode(each), each).toEqual(a.encode(each));
    expect(b.decode(b.encode('lower low', { addSpecial: false }))).toBe('lower low');
  });

  test('of Gemma comes back without a space in front, and without tokens for what the model has no rows', async () => {
    const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
    const tokens = [
      '<pad>',
      '<eos>',
      '<bos>',
      '<unk>',
      '<start_of_turn>',
      '\n\n',
      ...bytes,
      '▁',
      'l',
      'o',
      'w',
      'lo',
      '▁lo',
    ];
    const added = (id: number, content: string, special: boolean) => ({ id, content, special, normalized: false });
    const tokenizer = {
      version: '1.0',
      added_tokens: [
        ...[0, 1, 2, 3, 4].map((id) => added(id, tokens[id]!, true)),
        added(5, '\n\n', false),
        // Of the images that only larger models see.
        added(tokens.length, '<image_soft_token>', true),
      ],
      normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        special_tokens: { '<bos>': { id: '<bos>', ids: [2], tokens: ['<bos>'] } },
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
        ],
      },
      model: {
        type: 'BPE',
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: [
          ['l', 'o'],
          ['▁', 'lo'],
        ],
      },
    } as JsonObject;
    const config = { bos_token: '<bos>', eos_token: '<eos>', unk_token: '<unk>', pad_token: '<pad>' };
    const read = await roundTrip({ tokenizer, config }, { config: {}, vocabulary: tokens.length, name: 'm' });
    expect(read.config).toMatchObject({ ...config, add_bos_token: true });
    const [a, b] = [loadTokenizer(tokenizer, config), loadTokenizer(read.tokenizer, read.config)];
    for (const each of ['lo lolo\n\nlow', ' é', '<start_of_turn>lo'])
      expect(b.encode(each), each).toEqual(a.encode(each));
    expect(b.decode(b.encode('lo low', { addSpecial: false }))).toBe('lo low');
    expect(b.vocabulary).toBe(tokens.length);
  });
});
