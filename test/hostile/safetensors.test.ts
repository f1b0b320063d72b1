import { describe, expect, test } from 'vitest';
import { MAX_HEADER_BYTES, MAX_TENSORS } from '../../src/files/safetensors-limits.ts';
import { readSafetensors, type SafetensorsFile } from '../../src/files/safetensors-read.ts';
import { memorySource } from '../../src/files/source.ts';
import { expectRefusal } from './expect-refusal.ts';
import { craft, entry, file } from './safetensors-bytes.ts';

const one = (info: unknown, data = 4): Uint8Array => file({ w: info }, data);
const open = (bytes: Uint8Array): Promise<SafetensorsFile> => readSafetensors(memorySource('bad.safetensors', bytes));

const good = entry('F32', [1], [0, 4]);
const goodText = JSON.stringify(good);
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const HOSTILE: [string, Uint8Array, RegExp][] = [
  // The length field.
  ['nothing', new Uint8Array(0), /0 bytes are too few/],
  ['seven bytes', new Uint8Array(7), /7 bytes are too few/],
  ['a length and no header', craft('', 0, 2n), /takes 2 bytes, but the file has 8.*truncated/],
  ['a header longer than the file', craft('{}', 0, 3n), /takes 3 bytes, but the file has 10/],
  ['a header of 2^64 - 1 bytes', craft('{}', 0, 2n ** 64n - 1n), /18446744073709551615 bytes/],
  ['a header of 2^63 bytes', craft('{}', 0, 2n ** 63n), /9223372036854775808 bytes/],
  ['a header just above the limit', craft('{}', 0, BigInt(MAX_HEADER_BYTES) + 1n), /at most 100000000/],
  ['a header of no bytes', craft('', 8), /does not start with "\{"/],
  ['a GGUF file', utf8('GGUF\u0003\u0000\u0000\u0000 and so on'), /header length at offset 0/],
  ['a zip file', utf8('PK\u0003\u0004 and so on and on'), /header length at offset 0/],
  // JSON.
  ['a list', craft('[]'), /does not start with "\{"/],
  ['a blank before the header', craft(' {}'), /does not start with "\{"/],
  ['a byte order mark', craft('\ufeff{}'), /does not start with "\{"/],
  ['half a header', craft('{"w":{"dtype":"F32"'), /not valid JSON/],
  ['a length field that is too small', craft(`{"w":${goodText}}`, 4, 10n), /not valid JSON/],
  ['a zero byte after the header', craft('{}\u0000'), /not valid JSON/],
  ['two headers', craft('{}{}'), /not valid JSON/],
  ['a trailing comma', craft(`{"w":${goodText},}`, 4), /not valid JSON/],
  ['NaN', craft('{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', 4), /not valid JSON/],
  ['broken UTF-8', craft(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /not valid UTF-8/],
  ['an overlong UTF-8 quote', craft(Uint8Array.of(0x7b, 0xc0, 0xa2, 0x7d)), /not valid UTF-8/],
  ['deep nesting', craft(`{"w":${'['.repeat(50_000)}${']'.repeat(50_000)}}`), /nests more than 64 levels/],
  // Keys.
  ['a tensor twice', craft(`{"w":${goodText},"w":${goodText}}`, 4), /the key "w" twice/],
  ['a tensor twice, once by an escape', craft(`{"w":${goodText},"\\u0077":${goodText}}`, 4), /the key "w" twice/],
  [
    'a dtype twice',
    craft('{"w":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,4]}}', 4),
    /the key "dtype" twice/,
  ],
  ['metadata twice', craft('{"__metadata__":{},"__metadata__":{}}'), /the key "__metadata__" twice/],
  ['a metadata key twice', craft('{"__metadata__":{"a":"1","a":"2"}}'), /the key "a" twice/],
  [
    'an entry hidden in a prototype',
    craft('{"w":{"__proto__":{"dtype":"F32"},"shape":[1],"data_offsets":[0,4]}}', 4),
    /tensor "w" .*entry/,
  ],
  [
    'a tensor called __proto__ that lies',
    craft('{"__proto__":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4),
    /tensor "__proto__" has 4 bytes where/,
  ],
  ['a name of 1025 characters', file({ ['x'.repeat(1025)]: good }, 4), /name of 1025 characters/],
  ['half a surrogate pair as name', craft(`{"\\ud800":${goodText}}`, 4), /not valid Unicode/],
  // Entries.
  ['null', one(null), /tensor "w" has a wrong header entry/],
  ['a list as entry', one([1]), /tensor "w" has a wrong header entry/],
  ['no dtype', one({ shape: [1], data_offsets: [0, 4] }), /entry: dtype/],
  ['no shape', one({ dtype: 'F32', data_offsets: [0, 4] }), /entry: shape/],
  ['no offsets', one({ dtype: 'F32', shape: [1] }), /entry: data_offsets/],
  ['an unknown key', one(entry('F32', [1], [0, 4], { strides: [1] })), /entry: strides/],
  ['a number as dtype', one(entry(3, [1], [0, 4])), /dtype: "is not a string"/],
  ['an unknown dtype', one(entry('F8_E3M4', [4], [0, 4])), /unknown type "F8_E3M4".*Convert/],
  ['half a byte', one(entry('F4', [7], [0, 3]), 3), /ends inside a byte: shape \[7\] of F4 takes 3\.5 bytes/],
  ['half a byte rounded up', one(entry('F4', [7], [0, 4])), /ends inside a byte/],
  ['a dtype in lower case', one(entry('f32', [1], [0, 4])), /unknown type "f32"/],
  ['a dtype from the prototype', one(entry('constructor', [1], [0, 4])), /unknown type "constructor"/],
  ['a number as shape', one(entry('F32', 1, [0, 4])), /shape: "is not a list of sizes"/],
  ['a text in a shape', one(entry('F32', ['1'], [0, 4])), /shape\.0: "is not a number"/],
  ['a negative dimension', one(entry('F32', [-1], [0, 4])), /shape\.0: "is negative"/],
  ['two negative dimensions', one(entry('F32', [-1, -1], [0, 4])), /shape\.0: "is negative"/],
  ['a fractional dimension', one(entry('F32', [0.5, 2], [0, 4])), /shape\.0: "is not an exact integer"/],
  ['a dimension of 2^53', one(entry('F32', [2 ** 53], [0, 4])), /shape\.0: "is not an exact integer"/],
  ['a dimension of 1e400', craft('{"w":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', 4), /shape\.0/],
  ['nine dimensions', one(entry('F32', Array(9).fill(1), [0, 4])), /more than 8 dimensions/],
  ['a product above 2^53', one(entry('F32', [2 ** 31, 2 ** 31], [0, 4])), /absurd size/],
  ['a product that wraps 64 bits to 1', one(entry('U8', [2 ** 32, 2 ** 32, 4], [0, 4])), /absurd size/],
  ['a byte count above 2^53', one(entry('F64', [2 ** 51], [0, 4])), /absurd size/],
  ['one offset', one(entry('F32', [1], [0])), /entry: data_offsets/],
  ['three offsets', one(entry('F32', [1], [0, 4, 8])), /entry: data_offsets/],
  ['a negative offset', one(entry('F32', [1], [-4, 0])), /data_offsets\.0: "is negative"/],
  ['a fractional offset', one(entry('F32', [1], [0, 4.5])), /data_offsets\.1: "is not an exact integer"/],
  ['an end before its begin', one(entry('F32', [1], [4, 0])), /ends before it begins/],
  ['an end beyond the file', one(entry('F32', [2], [0, 8])), /beyond the file's/],
  ['an end at 2^53 - 1', one(entry('F32', [1], [0, 2 ** 53 - 1])), /beyond the file's/],
  ['fewer bytes than the shape', one(entry('F32', [2], [0, 4])), /has 4 bytes where shape \[2\] of F32 takes 8/],
  ['more bytes than the shape', one(entry('U8', [1], [0, 4])), /has 4 bytes where shape \[1\] of U8 takes 1/],
  ['bytes under an empty shape', one(entry('F32', [0], [0, 4])), /has 4 bytes where shape \[0\]/],
  // What other readers took: products that wrap to exactly nothing (stable-diffusion.cpp 1876, LiteRT 9255), shapes that the
  // data does not fill (mlx 3363).
  ['a product that wraps 64 bits to 0', one(entry('F32', [2 ** 32, 2 ** 32], [0, 0]), 0), /absurd size/],
  ['a product of bytes that wraps to 0', one(entry('F64', [2 ** 30, 2 ** 31], [0, 0]), 0), /absurd size/],
  ['far more in its shape than there is', one(entry('F32', [1000, 1000], [0, 4])), /4 bytes where .* takes 4000000/],
  // Coverage.
  [
    'an overlap',
    file({ a: entry('U8', [4], [0, 4]), b: entry('U8', [4], [2, 6]) }, 6),
    /tensor "b" overlaps .* at offset \d+/,
  ],
  ['the same bytes twice', file({ a: entry('U8', [4], [0, 4]), b: entry('U8', [4], [0, 4]) }, 4), /overlaps/],
  ['an empty tensor inside another', file({ a: entry('U8', [4], [0, 4]), b: entry('U8', [0], [2, 2]) }, 4), /overlaps/],
  ['a hole at the start', one(entry('U8', [2], [2, 4])), /2 bytes at offset \d+, before tensor "w"/],
  [
    'a hole in the middle',
    file({ a: entry('U8', [1], [0, 1]), b: entry('U8', [1], [3, 4]) }, 4),
    /2 bytes at offset \d+, before tensor "b"/,
  ],
  ['bytes after the last tensor', one(good, 5), /1 bytes at offset \d+, after the last tensor/],
  ['bytes and no tensor', file({}, 1), /1 bytes at offset 10, after the last tensor/],
  ['a truncated file', one(good).subarray(0, -1), /beyond the file's.*truncated/],
  // Metadata.
  ['metadata as text', file({ __metadata__: 'x' }), /__metadata__ is not an object/],
  ['metadata as a list', file({ __metadata__: [] }), /__metadata__ is not an object/],
  ['metadata as null', file({ __metadata__: null }), /__metadata__ is not an object/],
  ['a number in metadata', file({ __metadata__: { a: 1 } }), /__metadata__\."a" is not a string/],
  ['an object in metadata', file({ __metadata__: { a: {} } }), /__metadata__\."a" is not a string/],
  [
    '10001 metadata entries',
    file({ __metadata__: Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [i, ''])) }),
    /10001 entries/,
  ],
];

describe('a hostile safetensors file', () => {
  test.each(HOSTILE)('with %s is refused by name and cause, at once', (_, bytes, message) =>
    expectRefusal(() => open(bytes), 'bad.safetensors: ', message),
  );

  test('with more tensors than any model has is refused before they are looked at', async () => {
    const names = Array.from({ length: MAX_TENSORS + 1 }, (_, i) => `"${i}":0`);
    await expect(open(craft(`{${names.join(',')}}`))).rejects.toThrow(/more than 500000 tensors. Split the model/);
  });

  test('cannot reach a prototype', async () => {
    const { tensors, metadata } = await open(craft(`{"__metadata__":{"__proto__":"x"},"__proto__":${goodText}}`, 4));
    expect([...tensors.keys()]).toEqual(['__proto__']);
    expect(Object.keys(metadata)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(metadata)).toBeNull();
    expect(Object.hasOwn(Object.prototype, 'dtype')).toBe(false);
  });

  test('cannot drive the terminal through a message', async () => {
    const failure = open(craft(`{"\\u001b[2J\\u009b2J\\u202e${'x'.repeat(500)}":null}`)).catch(
      (error: Error) => error.message,
    );
    const message = String(await failure);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
    expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(message.length).toBeLessThan(400);
  });

  test('with zeros in any place of an empty shape is as good as any', async () => {
    const { tensors } = await open(
      file({ a: entry('F32', [2 ** 40, 2 ** 40, 0], [0, 0]), b: entry('F32', [], [0, 4]) }, 4),
    );
    expect(tensors.get('a')?.byteLength).toBe(0);
    expect(tensors.get('b')?.shape).toEqual([]);
  });
});
