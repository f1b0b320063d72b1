import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memorySource } from '../../src/files/source.ts';
import { checkWeight, weightsInFile } from '../../src/passes/stored-weight.ts';
import { expectRefusal } from './expect-refusal.ts';
import { sound } from './safetensors-bytes.ts';

/** A file that holds one matrix as int4 in groups of 64, another dense one, and such a tree. */
const file = (tree: string): Uint8Array =>
  sound(
    {
      'w.codes': ['U8', [8, 64], 512],
      'w.scales': ['F16', [8, 2], 32],
      dense: ['F16', [8, 128], 2048],
      other: ['F16', [8, 128], 2048],
      left: ['F16', [8, 4], 64],
      none: ['U16', [0], 0],
      starts: ['U32', [2], 8],
      empty: ['F16', [0, 4096], 0],
    },
    { compressa: tree },
  );
const open = (bytes: Uint8Array) => openCheckpoint(memorySource('bad.safetensors', bytes), { checkWeight });

const dense = (data: unknown): object => ({ kind: 'dense', data });
const int4 = (more: object = {}): object => ({
  kind: 'quantized',
  format: 'int4-g64',
  group: 64,
  shape: [8, 128],
  parts: { codes: 'w.codes', scales: 'w.scales' },
  ...more,
});
const tree = (weights: object): string => JSON.stringify({ version: 1, weights });
const one = (node: unknown): string => tree({ w: node });
const sums = (depth: number, node: object = dense('dense')): object =>
  depth === 0 ? node : { kind: 'sum', terms: [sums(depth - 1, node)] };

const HOSTILE: [string, string, RegExp][] = [
  // Text.
  ['no text', '', /__metadata__\.compressa is not valid JSON/],
  ['half a text', one(int4()).slice(0, 60), /not valid JSON/],
  ['a list', '[]', /not a JSON object/],
  [
    'lists 100,000 deep',
    `{"version":1,"weights":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    /not valid JSON|64 levels/,
  ],
  ['sums 40 deep', one(sums(40)), /nests more than 64 levels/],
  ['sums 9 deep', one(sums(9)), /weight "w" .*nests more than 8 levels/],
  ['a version to come', '{"version":2,"weights":{}}', /has version "2".*Update/],
  ['a version that is text', '{"version":"1","weights":{}}', /has version/],
  ['no weights', '{"version":1}', /no object "weights"/],
  ['a key of a later version', '{"version":1,"weights":{},"code":"x"}', /unknown key "code".*Update/],
  // Keys that an object would act on (CWE-1321).
  [
    'a weight called __proto__',
    '{"version":1,"weights":{"__proto__":{"kind":"dense","data":"dense"}}}',
    /reserved key/,
  ],
  ['a weight called constructor', tree({ constructor: dense('dense') }), /reserved key "constructor"/],
  ['a part called __proto__', one(int4()).replace('"scales":', '"__proto__":'), /reserved key "__proto__"/],
  ['a hidden kind', '{"version":1,"weights":{"w":{"__proto__":{"kind":"dense","data":"dense"}}}}', /reserved key/],
  ['a graph with a prototype', '{"version":1,"weights":{},"graph":{"a":{"prototype":1}}}', /reserved key "prototype"/],
  ['a graph of a later version', '{"version":1,"weights":{},"graph":{"widths":[1]}}', /"graph", at "widths".*update/],
  [
    'a rotation without signs',
    '{"version":1,"weights":{},"graph":{"rotation":{"block":8}}}',
    /"graph", at "rotation\.seed"/,
  ],
  [
    'a transform of an odd block',
    '{"version":1,"weights":{},"graph":{"hadamard":{"ffn":12}}}',
    /at "hadamard\.ffn": "must be a power of two"/,
  ],
  ['a weight twice', one(int4()).replace('"w":', '"w":{"kind":"dense","data":"dense"},"\\u0077":'), /key "w" twice/],
  // Circles: a tree names tensors, never weights, so that a circle can only be one of names.
  [
    'a weight made of itself by another',
    tree({ dense: dense('other'), other: dense('dense') }),
    /"dense" is also a plain tensor/,
  ],
  [
    'a tensor that two weights are made of',
    tree({ v: dense('dense'), w: dense('dense') }),
    /"v" and "w" are both made of the tensor "dense"/,
  ],
  ['codes that two weights share', tree({ v: int4(), w: int4() }), /both made of the tensor "w\.codes"/],
  // Tensors.
  ['a tensor that is not there', one(dense('nowhere')), /weight "w" needs the tensor "nowhere"/],
  ['a tensor of a prototype', one(dense('toString')), /needs the tensor "toString", which the file lacks/],
  ['a tensor without a name', one(dense('')), /weight "w"/],
  ['a tensor that is a number', one(dense(7)), /weight "w"/],
  ['codes as weights', one(dense('w.codes')), /needs tensor "w\.codes" \(offset \d+\) as one of .*, but it is U8/],
  [
    'weights as codes',
    one(int4({ parts: { codes: 'dense', scales: 'w.scales' } })),
    /"codes" as U8 \[8,64\], but that is F16/,
  ],
  ['a missing part', one(int4({ parts: { codes: 'w.codes' } })), /lacks the part "scales"/],
  ['a part too many', one(int4({ parts: { codes: 'w.codes', scales: 'w.scales', more: 'dense' } })), /has 3 parts/],
  // Shapes.
  ['another shape', one(int4({ shape: [16, 128] })), /needs its part "codes" as U8 \[16,64\]/],
  ['rows of no whole group', one(int4({ shape: [8, 100] })), /groups of 64 do not divide/],
  ['another group', one(int4({ group: 32 })), /has groups of 32, but int4-g64 has 64/],
  ['no rows', one(int4({ shape: [0, 128] })), /weight "w", at "shape/],
  ['a negative row', one(int4({ shape: [-8, 128] })), /weight "w", at "shape/],
  ['a product above 2^53', one(int4({ shape: [2 ** 50, 2 ** 50] })), /absurd shape/],
  ['a size of 1e999', one(int4()).replace('[8,128]', '[8,1e999]'), /weight "w", at "shape/],
  ['a format that is not known', one(int4({ format: 'int4' })), /the format "int4", which this version/],
  ['a format that is a path', one(int4({ format: '../int4' })), /weight "w", at "format"/],
  [
    'an absurd shape of blocks that are all left out',
    one({
      kind: 'block-sparse',
      block: [2 ** 40, 4096],
      shape: [2 ** 40, 2 ** 52],
      values: dense('empty'),
      lists: 'starts',
    }),
    /absurd shape \[1099511627776,4503599627370496\]/,
  ],
  [
    'a rank that its factors do not have',
    one({ kind: 'low-rank', rank: 5, left: dense('left'), right: dense('dense') }),
    /left factor with shape \[8,5\]/,
  ],
  ['17 terms', one({ kind: 'sum', terms: Array(17).fill(dense('dense')) }), /weight "w", at "terms"/],
  ['terms of two shapes', one({ kind: 'sum', terms: [dense('dense'), dense('left')] }), /term 1 with shape \[8,128\]/],
  ['a kind to come', one({ kind: 'hash', data: 'dense' }), /weight "w".*update/],
];

describe('a hostile weight tree', () => {
  test('of the right kind is none', async () => {
    const checkpoint = await open(file(one(int4())));
    expect(weightsInFile(checkpoint).get('w')).toMatchObject({ kind: 'quantized', shape: [8, 128] });
  });

  test.each(HOSTILE)('with %s is refused by name, at once', (_, json, message) =>
    expectRefusal(() => open(file(json)), 'bad.safetensors: ', message),
  );

  test('cannot make much of little: 16 terms in 7 levels are refused by size or depth, at once', async () => {
    let node: string = JSON.stringify(dense('dense'));
    for (let level = 0; level < 5; level++) node = `{"kind":"sum","terms":[${Array(8).fill(node).join(',')}]}`;
    const checkpoint = await open(file(`{"version":1,"weights":{"w":${node}}}`));
    expect(checkpoint.tree?.weights.size).toBe(1);
    for (let level = 0; level < 3; level++) node = `{"kind":"sum","terms":[${node}]}`;
    await expect(open(file(`{"version":1,"weights":{"w":${node}}}`))).rejects.toThrow(/nests more than 8 levels/);
  });
});
