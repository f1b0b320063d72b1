import { describe, expect, test } from 'vitest';
import { CompressaError, FileError, ModelError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { MAX_ARRAY_ELEMENTS, MAX_HEADER_BYTES, MAX_STRING_BYTES } from '../../src/files/gguf/limits.ts';
import { type GgufFile, readGguf, rowCount } from '../../src/files/gguf/read.ts';
import { readTokenizer } from '../../src/files/gguf/tokenizer-read.ts';
import { type ByteSource, memorySource } from '../../src/files/source.ts';
import { readModel } from '../../src/model.ts';
import {
  array,
  entry,
  f32,
  gguf,
  type Info,
  info,
  join,
  string,
  T,
  u8,
  u32,
  u64,
} from '../unit/files/fixtures/gguf-bytes.ts';
import { ggufSample, model } from './samples.ts';

const open = (bytes: Uint8Array): Promise<GgufFile> => readGguf(memorySource('bad.gguf', bytes));
const key = (type: number, value: Uint8Array, name: string | Uint8Array = 'k'): Uint8Array =>
  gguf({ entries: [entry(name, type, value)] });
const one = (tensor: Info, data: number | Uint8Array = 32): Uint8Array => gguf({ tensors: [info(tensor)], data });
const two = (a: Info, b: Info, data = 64): Uint8Array => gguf({ tensors: [info(a), info(b)], data });
const aligned = (alignment: Uint8Array, type = T.U32): Uint8Array =>
  gguf({ entries: [entry('general.alignment', type, alignment)], tensors: [info({})], data: 32 });
const nested = (depth: number): Uint8Array =>
  depth === 0 ? array(T.U8, 1, u8(1)) : array(T.ARRAY, 1, nested(depth - 1));
const whole = one({});
const many = (n: number, name: (i: number) => string) =>
  Array.from({ length: n }, (_, i) => entry(name(i), T.U8, u8(1)));

const HOSTILE: [string, Uint8Array, RegExp][] = [
  // The prefix.
  ['nothing', new Uint8Array(0), /0 bytes are too few/],
  ['a magic and no more', new TextEncoder().encode('GGUF'), /4 bytes are too few/],
  ['23 bytes', whole.slice(0, 23), /23 bytes are too few/],
  ['another magic', gguf({ magic: 'GGML' }), /does not start with "GGUF"/],
  ['version 0', gguf({ version: u32(0) }), /version 0/],
  ['version 1', gguf({ version: u32(1) }), /version 1; .* version 3/],
  ['version 2', gguf({ version: u32(2) }), /version 2; .* version 3/],
  ['version 4', gguf({ version: u32(4) }), /version 4/],
  ['a big-endian file', gguf({ version: Uint8Array.of(0, 0, 0, 3) }), /big-endian \(version 3\)/],
  // Counts.
  ['2^64 - 1 keys', gguf({ keyCount: 2n ** 64n - 1n }), /offset 16 announces 18446744073709551615 keys/],
  ['10,001 keys', gguf({ keyCount: 10_001n }), /announces 10001 keys; at most 10000/],
  [
    'a key more than there are',
    gguf({ keyCount: 1n }).slice(0, 24),
    /name of key 0 at offset \d+ takes 8 bytes, but the file ends/,
  ],
  ['2^63 tensors', gguf({ tensorCount: 2n ** 63n }), /offset 8 announces 9223372036854775808 tensors/],
  ['65,537 tensors', gguf({ tensorCount: 65_537n }), /announces 65537 tensors; at most 65536/],
  ['a tensor more than there are', gguf({ tensors: [info({})], tensorCount: 2n }), /name of tensor 1 at offset/],
  // Keys.
  [
    'a key of 2^64 - 1 bytes',
    gguf({ entries: [string('k', 2n ** 64n - 1n)] }),
    /takes 18446744073709551615 bytes; at most 1024/,
  ],
  ['a key of 1025 characters', key(T.U8, u8(1), 'x'.repeat(1025)), /takes 1025 bytes; at most 1024/],
  [
    'a key that leaves the file',
    gguf({ entries: [string('k', 1000n)] }),
    /name of key 0 .*takes 1000 bytes, but the file ends/,
  ],
  ['a key that is no UTF-8', key(T.U8, u8(1), Uint8Array.of(0xff)), /not valid UTF-8/],
  ['an overlong UTF-8 key', key(T.U8, u8(1), Uint8Array.of(0xc0, 0xaf)), /not valid UTF-8/],
  ['the key __proto__', key(T.U8, u8(1), '__proto__'), /"__proto__" at offset 24 is reserved/],
  ['the key constructor', key(T.U8, u8(1), 'constructor'), /"constructor" .*reserved/],
  ['a key that the parser uses itself', key(T.U32, u32(1), 'version'), /"version" .*reserved/],
  ['a key twice', gguf({ entries: many(2, () => 'k') }), /"k" at offset \d+ is there twice/],
  ['no type', gguf({ entries: [string('k')] }).slice(0, 33), /the type of the value of "k"/],
  ['a key without a name', key(T.U8, u8(1), ''), /key 0 at offset 24 has no name/],
  // Values.
  ['the value type 13', key(13, u8(1)), /unknown type 13/],
  ['the value type 2^32 - 1', key(0xffffffff, u8(1)), /unknown type 4294967295/],
  ['a truth value of 2', key(T.BOOL, u8(2)), /2, which is no truth value/],
  [
    'half a number',
    gguf({ entries: [entry('k', T.U64, u32(1))] }).slice(0, 41),
    /the value of "k" at offset 37 takes 8 bytes, but the file ends/,
  ],
  ['a string of 2^63 bytes', key(T.STRING, string('x', 2n ** 63n)), /takes 9223372036854775808 bytes/],
  ['a string above the limit', key(T.STRING, string('x', BigInt(MAX_STRING_BYTES) + 1n)), /at most 400000/],
  ['a string that leaves the file', key(T.STRING, string('x', 100n)), /takes 100 bytes, but the file ends/],
  ['a string that is no UTF-8', key(T.STRING, string(Uint8Array.of(0x80))), /not valid UTF-8/],
  // Arrays.
  ['an array of unknown type', key(T.ARRAY, array(99, 0)), /an element of the value of "k" .*unknown type 99/],
  ['an array of 2^64 - 1 elements', key(T.ARRAY, array(T.U8, 2n ** 64n - 1n)), /18446744073709551615 elements/],
  ['an array above the limit', key(T.ARRAY, array(T.U8, MAX_ARRAY_ELEMENTS + 1)), /4000001 elements/],
  [
    'arrays that are together above the limit',
    gguf({
      entries: [
        entry('a', T.ARRAY, array(T.U8, 3e6, new Uint8Array(3e6))),
        entry('b', T.ARRAY, array(T.U8, 3e6, new Uint8Array(3e6))),
      ],
    }),
    /"b" .*all arrays together/,
  ],
  ['an array that leaves the file', key(T.ARRAY, array(T.F64, 1000)), /takes 8000 bytes, but the file ends/],
  [
    'strings that can not all be there',
    key(T.ARRAY, array(T.STRING, 1e6, string('a'))),
    /takes 8000000 bytes, but the file ends/,
  ],
  [
    'a string in an array that leaves the file',
    key(T.ARRAY, array(T.STRING, 1, string('a', 50n))),
    /takes 50 bytes, but the file ends/,
  ],
  [
    'a string in an array of 2^63 bytes',
    key(T.ARRAY, array(T.STRING, 1, string('a', 2n ** 63n))),
    /element 0 of the value of "k"/,
  ],
  ['arrays four deep', key(T.ARRAY, nested(3)), /nests more than 3 arrays/],
  [
    'arrays ten thousand deep',
    key(T.ARRAY, join(...Array.from({ length: 10_000 }, () => join(u32(T.ARRAY), u64(1))))),
    /nests more than 3/,
  ],
  // Alignment.
  ['alignment 0', aligned(u32(0)), /general\.alignment/],
  ['alignment 33', aligned(u32(33)), /general\.alignment is "33"/],
  ['alignment 2^31', aligned(u32(2 ** 31)), /general\.alignment is "2147483648"/],
  ['alignment of another type', aligned(u64(32), T.U64), /general\.alignment/],
  ['alignment as text', aligned(string('32'), T.STRING), /general\.alignment/],
  ['alignment as an array', aligned(array(T.U32, 1, u32(3)), T.ARRAY), /general\.alignment/],
  // Tensor infos.
  ['a tensor without a name', one({ name: '' }), /tensor 0 at offset 24 has no name/],
  ['a tensor name of 257 bytes', one({ name: 'x'.repeat(257) }), /takes 257 bytes; at most 256/],
  ['a tensor name that is no UTF-8', one({ name: Uint8Array.of(0xfe) }), /not valid UTF-8/],
  ['a tensor called __proto__', one({ name: '__proto__' }), /"__proto__" .*reserved/],
  ['a tensor twice', two({ name: 'w' }, { name: 'w', offset: 32 }), /tensor "w" at offset \d+ is there twice/],
  ['no dimensions', one({ dims: [] }), /0 dimensions/],
  ['five dimensions', one({ dims: [1, 1, 1, 1, 1] }), /5 dimensions/],
  ['2^32 - 1 dimensions', one({ rank: 0xffffffff }), /4294967295 dimensions/],
  ['a dimension of 0', one({ dims: [8, 0] }), /tensor "w" has a dimension of 0/],
  ['a dimension of 2^64 - 1', one({ dims: [2n ** 64n - 1n] }), /18446744073709551615/],
  ['dimensions whose product overflows 64 bits', one({ dims: [2 ** 32, 2 ** 32, 2, 1] }), /absurd size/],
  ['dimensions whose product overflows 53 bits', one({ dims: [2 ** 27, 2 ** 27] }), /absurd size/],
  ['bytes that overflow', one({ dims: [2 ** 26, 2 ** 26], type: 0 }), /absurd size/],
  ['the given-up type 4', one({ type: 4 }), /tensor "w" has the unknown type 4/],
  ['the type 2^32 - 1', one({ type: 0xffffffff }), /unknown type 4294967295/],
  ['rows that blocks do not divide', one({ dims: [33], type: 2 }, 64), /rows of 33, which blocks of 32 \(q4_0\)/],
  ['half a super-block', one({ dims: [128], type: 12 }, 160), /rows of 128, which blocks of 256 \(q4_k\)/],
  ['an info that ends early', whole.slice(0, 40), /info of tensor "w"/],
  // Offsets.
  ['an offset that is not aligned', one({ offset: 4 }, 64), /does not start at a multiple of 32/],
  ['an offset of 2^64 - 32', one({ offset: 2n ** 64n - 32n }), /reaches beyond the file/],
  ['an offset behind the file', one({ offset: 64 }), /tensor "w" takes 32 bytes and reaches beyond the file's 96/],
  ['data that is cut', one({}, 31), /reaches beyond the file's 95/],
  ['no data at all', one({}, 0), /reaches beyond/],
  ['a tensor of a terabyte', one({ dims: [2 ** 20, 2 ** 18] }), /takes 1099511627776 bytes and reaches beyond/],
  ['two tensors in one place', two({ name: 'a' }, { name: 'b' }), /tensor "[ab]" overlaps another one/],
  ['tensors that overlap', two({ name: 'a', dims: [16] }, { name: 'b', offset: 32 }), /tensor "b" overlaps/],
  ['a hole before the first tensor', one({ offset: 32 }, 64), /32 bytes at offset \d+, before tensor "w"/],
  [
    'a hole between tensors',
    two({ name: 'a' }, { name: 'b', offset: 64 }, 96),
    /before tensor "b", belong to no tensor/,
  ],
  ['bytes after the last tensor', one({}, 96), /64 bytes at offset 96, after the last tensor/],
];

describe('a hostile file', () => {
  test('comes in many kinds', () => expect(HOSTILE.length).toBeGreaterThan(60));

  test.each(HOSTILE)('with %s is refused by name', async (_what, bytes, message) => {
    const run = open(bytes);
    await expect(run).rejects.toThrow(FileError);
    await expect(run).rejects.toThrow(message);
    await expect(run).rejects.toThrow(/^bad\.gguf: /);
  });
});

/** A source of `size` bytes that `fill` writes; counts what is read. */
function made(size: number, fill: (out: Uint8Array, offset: number) => void): ByteSource & { total: number } {
  const source = {
    name: 'bad.gguf',
    size,
    total: 0,
    async read(offset: number, length: number) {
      source.total += length;
      const out = new Uint8Array(length);
      fill(out, offset);
      return out;
    },
    async close() {},
  };
  return source;
}

test('a header of 10,000 long strings is given up long before its end', async () => {
  const prefix = gguf({ keyCount: 10_000n }).subarray(0, 24);
  const one = (i: number) => entry(String(i).padStart(5, '0'), T.STRING, string('x'.repeat(MAX_STRING_BYTES)));
  const size = one(0).byteLength;
  const source = made(24 + 10_000 * size, (out, offset) => {
    if (offset < 24) out.set(prefix.subarray(offset, offset + out.byteLength));
    for (let i = Math.max(0, Math.floor((offset - 24) / size)); 24 + i * size < offset + out.byteLength; i++) {
      const at = 24 + i * size - offset;
      const bytes = one(i).subarray(Math.max(0, -at));
      out.set(bytes.subarray(0, out.byteLength - Math.max(0, at)), Math.max(0, at));
    }
  });
  await expect(readGguf(source)).rejects.toThrow(/header without its arrays takes more than 40000000 bytes/);
  expect(source.total).toBeLessThan(MAX_HEADER_BYTES);
});

test('arrays are not read before they are asked for', async () => {
  const count = 3_900_000;
  const prefix = join(gguf({ keyCount: 1n }).slice(0, 24), string('big'), u32(T.ARRAY), u32(T.F64), u64(count));
  const size = Math.ceil((prefix.byteLength + 8 * count) / 32) * 32;
  const source = made(size, (out, offset) => {
    if (offset < prefix.byteLength) out.set(prefix.subarray(offset, offset + out.byteLength));
  });
  const file = await readGguf(source);
  expect(file.arrays.get('big')).toMatchObject({ count, byteLength: 8 * count });
  expect(source.total).toBeLessThan(4 * 1024 * 1024);
});

const text = (name: string, value: string) => entry(name, T.STRING, string(value));
const count = (name: string, value: number) => entry(name, T.U32, u32(value));
describe('a model that makes no sense', () => {
  const none = new Uint8Array(0);
  test.each<[string, Uint8Array, RegExp]>([
    ['no heads', model({ heads: none }), /lacks llama\.attention\.head_count/],
    [
      'heads for each layer',
      model({ heads: entry('llama.attention.head_count', T.ARRAY, array(T.U32, 1, u32(2))) }),
      /has a value for each layer/,
    ],
    [
      'a width that is text',
      model({ embedding_length: text('llama.embedding_length', '32') }),
      /embedding_length is "32", which is no number/,
    ],
    [
      'a width above 2^53',
      model({ embedding_length: entry('llama.embedding_length', T.U64, u64(2n ** 60n)) }),
      /is no number/,
    ],
    [
      'an epsilon that is NaN',
      model({ epsilon: entry('llama.attention.layer_norm_rms_epsilon', T.F32, f32(Number.NaN)) }),
      /is no number/,
    ],
    ['heads of odd size', model({ heads: count('llama.attention.head_count', 32) }), /heads of 1 dimensions/],
    ['heads of no whole size', model({ heads: count('llama.attention.head_count', 3) }), /heads of 10\.6/],
    ['a head count of 0', model({ heads: count('llama.attention.head_count', 0) }), /heads of Infinity/],
    [
      'rotary for a part of a head',
      model({ rotary: count('llama.rope.dimension_count', 8), length: count('llama.attention.key_length', 16) }),
      /not supported/,
    ],
    ['experts', model({ experts: count('llama.expert_count', 8) }), /mixture of experts/],
    [
      'an unknown scaling',
      model({ scaling: text('llama.rope.scaling.type', 'longrope') }),
      /"longrope" is not supported/,
    ],
    [
      'an unknown architecture',
      model({ architecture: text('general.architecture', '__proto__') }),
      /architecture "__proto__"/,
    ],
    [
      'rotary factors of nobody',
      model({}, [info({ name: 'rope_freqs.weight', dims: [8] })], 32),
      /are not those of Llama 3/,
    ],
    ['layers without end', model({ block_count: count('llama.block_count', 0xffffffff) }), /num_hidden_layers/],
  ])('with %s opens to be looked at and is refused to run', async (_what, bytes, message) => {
    const checkpoint = await openCheckpoint(memorySource('bad.gguf', bytes));
    expect(checkpoint.gguf).toBeDefined();
    await checkpoint.close();
    const run = readModel(memorySource('bad.gguf', bytes));
    await expect(run).rejects.toThrow(ModelError);
    await expect(run).rejects.toThrow(message);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['is one part of several', model({ split: entry('split.count', T.U16, Uint8Array.of(3, 0)) }), /one of 3 files/],
    [
      'has queries of another height',
      model({}, [info({ name: 'blk.0.attn_q.weight', dims: [32, 8] })], 1024),
      /has 8 rows, but the metadata says 2 heads of 16/,
    ],
    [
      'has two tensors that would have one name',
      model({}, [info({ name: 'output.weight' }), info({ name: 'lm_head.weight', offset: 32 })], 64),
      /would be the second one called "lm_head\.weight"/,
    ],
  ])('%s', async (_what, bytes, message) => {
    const run = openCheckpoint(memorySource('bad.gguf', bytes));
    await expect(run).rejects.toThrow(FileError);
    await expect(run).rejects.toThrow(message);
  });
});

describe('a tokenizer that makes no sense', () => {
  const strings = (name: string, ...values: (string | Uint8Array)[]) =>
    entry(name, T.ARRAY, array(T.STRING, values.length, ...values.map((value) => string(value))));
  const types = (...values: number[]) =>
    entry('tokenizer.ggml.token_type', T.ARRAY, array(T.I32, values.length, ...values.map(u32)));
  const file = (...entries: Uint8Array[]) =>
    gguf({ entries: [text('tokenizer.ggml.model', 'gpt2'), text('tokenizer.ggml.pre', 'gpt-2'), ...entries] });
  const merges = strings('tokenizer.ggml.merges', 'a b');
  test.each<[string, Uint8Array, RegExp]>([
    ['no tokens', file(merges), /tokens is missing/],
    [
      'tokens that are numbers',
      file(entry('tokenizer.ggml.tokens', T.ARRAY, array(T.U8, 1, u8(1)))),
      /no array of strings/,
    ],
    ['tokens that are text', file(text('tokenizer.ggml.tokens', 'a')), /no array of strings/],
    ['a token twice', file(strings('tokenizer.ggml.tokens', 'a', 'a'), merges), /tokens 0 and 1 are both "a"/],
    [
      'a token that is no UTF-8',
      file(strings('tokenizer.ggml.tokens', Uint8Array.of(0xff)), merges),
      /element 0 .*not valid UTF-8/,
    ],
    ['fewer types than tokens', file(strings('tokenizer.ggml.tokens', 'a', 'b'), types(1), merges), /2 tokens but 1/],
    [
      'types that are text',
      file(strings('tokenizer.ggml.tokens', 'a'), strings('tokenizer.ggml.token_type', 'x'), merges),
      /no array of numbers/,
    ],
    ['no merges', file(strings('tokenizer.ggml.tokens', 'a')), /merges is missing/],
    [
      'a merge of three',
      file(strings('tokenizer.ggml.tokens', 'a'), strings('tokenizer.ggml.merges', 'a b c')),
      /merge 0 is "a b c"/,
    ],
    [
      'an end that is no token',
      file(strings('tokenizer.ggml.tokens', 'a'), merges, count('tokenizer.ggml.eos_token_id', 7)),
      /eos_token_id is 7, but there are 1/,
    ],
  ])('with %s is refused by name', async (_what, bytes, message) => {
    const run = readTokenizer(await open(bytes));
    await expect(run).rejects.toThrow(CompressaError);
    await expect(run).rejects.toThrow(message);
  });

  test('keeps a token called __proto__', async () => {
    const read = await readTokenizer(await open(file(strings('tokenizer.ggml.tokens', 'a', '__proto__'), merges)));
    expect(JSON.stringify(read)).toContain('"vocab":{"a":0,"__proto__":1}');
  });
});

test('a sound file is read whole, row by row', async () => {
  const file = await open(ggufSample.bytes);
  let read = 0;
  for (const tensor of file.tensors.values()) {
    for (let row = 0; row < rowCount(tensor); row++) read += (await file.rows(tensor, row, 1)).byteLength;
  }
  expect(read).toBe(ggufSample.bytes.byteLength - ggufSample.header);
});
