import { array, entry, f32, gguf, info, string, T, u32 } from '../unit/files/fixtures/gguf-bytes.ts';
import { sound } from './safetensors-bytes.ts';

/** A small sound file, to be changed. */
export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Bytes before its data. */
  readonly header: number;
  /** Makes the length of the header right again where bytes came or went. */
  readonly fit?: (bytes: Uint8Array) => void;
}

const text = (name: string, value: string) => entry(name, T.STRING, string(value));
const count = (name: string, value: number) => entry(name, T.U32, u32(value));

/** A GGUF file of a model of one layer; an empty change leaves a key out. */
export const model = (changes: Record<string, Uint8Array> = {}, tensors: Uint8Array[] = [], data = 0): Uint8Array => {
  const keys: Record<string, Uint8Array> = {
    architecture: text('general.architecture', 'llama'),
    block_count: count('llama.block_count', 1),
    context_length: count('llama.context_length', 16),
    embedding_length: count('llama.embedding_length', 32),
    feed_forward_length: count('llama.feed_forward_length', 32),
    heads: count('llama.attention.head_count', 2),
    epsilon: entry('llama.attention.layer_norm_rms_epsilon', T.F32, f32(1e-5)),
    vocabulary: count('llama.vocab_size', 4),
    ...changes,
  };
  return gguf({ entries: Object.values(keys).filter((bytes) => bytes.byteLength > 0), tensors, data });
};

const GGUF_DATA = 2336;
const ggufBytes = model(
  {
    pre: text('tokenizer.ggml.pre', 'gpt-2'),
    kind: text('tokenizer.ggml.model', 'gpt2'),
    tokens: entry(
      'tokenizer.ggml.tokens',
      T.ARRAY,
      array(T.STRING, 4, ...['a', 'b', 'ab', '<end>'].map((s) => string(s))),
    ),
    types: entry('tokenizer.ggml.token_type', T.ARRAY, array(T.I32, 4, ...[1, 1, 1, 3].map(u32))),
    merges: entry('tokenizer.ggml.merges', T.ARRAY, array(T.STRING, 1, string('a b'))),
  },
  [
    info({ name: 'token_embd.weight', dims: [32, 4], type: 1 }),
    info({ name: 'blk.0.attn_q.weight', dims: [32, 32], type: 2, offset: 256 }),
    info({ name: 'blk.0.attn_k.weight', dims: [32, 32], type: 8, offset: 832 }),
    info({ name: 'blk.0.ffn_down.weight', dims: [256, 2], type: 12, offset: 1920 }),
    info({ name: 'output_norm.weight', dims: [32], offset: 2208 }),
  ],
  GGUF_DATA,
);

/** Small, but with a tensor of every kind, arrays and a tokenizer. */
export const ggufSample: Sample = {
  name: 'bad.gguf',
  bytes: ggufBytes,
  header: ggufBytes.byteLength - GGUF_DATA,
};

const tensors = {
  'embed.weight': ['F16', [4, 32], 256],
  'norm.weight': ['F32', [32], 128],
  'q.weight.codes': ['U8', [8, 64], 512],
  'q.weight.scales': ['F16', [8, 2], 32],
  'down.weight': ['F8_E4M3', [4, 4], 16],
  'packed.weight': ['F4', [3, 4], 6],
  scalar: ['I64', [], 8],
  empty: ['BF16', [0, 7], 0],
} as const;
const tree = {
  version: 1,
  weights: {
    'q.weight': {
      kind: 'quantized',
      format: 'int4-g64',
      group: 64,
      shape: [8, 128],
      parts: { codes: 'q.weight.codes', scales: 'q.weight.scales' },
    },
    norm: { kind: 'sum', terms: [{ kind: 'dense', data: 'norm.weight' }] },
  },
};
const safetensorsBytes = sound(tensors, { format: 'pt', compressa: JSON.stringify(tree) });
const SAFETENSORS_DATA = Object.values(tensors).reduce((sum, [, , bytes]) => sum + bytes, 0);

/** Small, but with tensors of whole, packed and no elements, and a weight tree. */
export const safetensorsSample: Sample = {
  name: 'bad.safetensors',
  bytes: safetensorsBytes,
  header: safetensorsBytes.byteLength - SAFETENSORS_DATA,
  fit(bytes) {
    const length = bytes.byteLength - 8 - SAFETENSORS_DATA;
    if (length < 0) return;
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt(length), true);
  },
};
