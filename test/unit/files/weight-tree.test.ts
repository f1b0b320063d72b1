import { describe, expect, test } from 'vitest';
import { ArgumentError, FileError } from '../../../src/errors.ts';
import type { TensorInfo } from '../../../src/files/safetensors-read.ts';
import {
  type CheckWeight,
  parseWeightTree,
  serializeWeightTree,
  tensorsOf,
  type WeightNode,
  type WeightTree,
} from '../../../src/files/weight-tree.ts';
import { MAX_WEIGHT_DEPTH } from '../../../src/files/weight-tree-schema.ts';
import type { ElementType } from '../../../src/formats/format.ts';

const tensor = (name: string, type: ElementType, shape: number[]): [string, TensorInfo] => [
  name,
  { name, type, shape, offset: 8, byteLength: 0 },
];

const file = {
  name: 'm.safetensors',
  tensors: new Map([
    tensor('w.codes', 'U32', [8, 16]),
    tensor('w.scales', 'F16', [8, 2]),
    tensor('half', 'F16', [8, 64]),
    tensor('full', 'F16', [8, 128]),
    tensor('left', 'F16', [8, 4]),
    tensor('right', 'F16', [4, 128]),
    tensor('idx', 'U8', [128]),
    tensor('blocks', 'F16', [3, 64]),
    tensor('lists', 'U32', [12]),
    tensor('lists5', 'U32', [14]),
    tensor('ints', 'I64', [8, 128]),
    tensor('cube', 'U8', [2, 2, 2]),
    tensor('taken', 'F16', [8, 128]),
  ]),
};

const dense = (data: string): WeightNode => ({ kind: 'dense', data });
const quantized: Extract<WeightNode, { kind: 'quantized' }> = {
  kind: 'quantized',
  format: 'int4',
  group: 64,
  shape: [8, 128],
  parts: { codes: 'w.codes', scales: 'w.scales' },
};
const nm: Extract<WeightNode, { kind: 'nm' }> = {
  kind: 'nm',
  n: 2,
  m: 4,
  vector: 1,
  shape: [8, 128],
  values: dense('half'),
  indices: 'idx',
};
const blockSparse: Extract<WeightNode, { kind: 'block-sparse' }> = {
  kind: 'block-sparse',
  block: [2, 32],
  shape: [8, 128],
  values: dense('blocks'),
  lists: 'lists',
};
const lowRank: Extract<WeightNode, { kind: 'low-rank' }> = {
  kind: 'low-rank',
  rank: 4,
  left: dense('left'),
  right: dense('right'),
};
const sum: WeightNode = { kind: 'sum', terms: [quantized, lowRank, nm, blockSparse] };

const tree = (node: unknown, name = 'w'): string => JSON.stringify({ version: 1, weights: { [name]: node } });

const changes = { rotation: { seed: 7, block: 64 }, hadamard: { ffn: 16 } };

describe('a weight tree', () => {
  test.each([dense('full'), quantized, nm, blockSparse, lowRank, sum])(
    'of kind $kind is written and read again',
    (node) => {
      const written: WeightTree = { version: 1, weights: new Map([['w', node]]), graph: changes };
      const json = serializeWeightTree(written);
      expect(JSON.parse(json)).toEqual({ version: 1, weights: { w: node }, graph: changes });
      expect(parseWeightTree(json, file)).toEqual(written);
    },
  );

  test('names every tensor that it stands on', () => {
    expect(tensorsOf(sum).sort()).toEqual(
      ['w.codes', 'w.scales', 'left', 'right', 'half', 'idx', 'blocks', 'lists'].sort(),
    );
  });

  test('asks the caller about packed arrays', () => {
    const asked: string[][] = [];
    const check: CheckWeight = (node, parts, weight) => {
      asked.push([weight, node.kind, ...parts.keys()]);
      return node.kind === 'nm' ? 'lacks half of its indices' : undefined;
    };
    expect(() => parseWeightTree(tree(sum), file, check)).toThrow(
      /m\.safetensors: weight "w" \(at terms\[2\]\) lacks half of its indices/,
    );
    expect(asked).toEqual([
      ['w', 'quantized', 'codes', 'scales'],
      ['w', 'nm', 'indices', 'values'],
    ]);
  });

  test('nests as deep as its limit and no deeper', () => {
    const nested = (levels: number): WeightNode =>
      levels === 1 ? dense('full') : { kind: 'sum', terms: [nested(levels - 1)] };
    expect(parseWeightTree(tree(nested(MAX_WEIGHT_DEPTH)), file).weights.size).toBe(1);
    expect(() => parseWeightTree(tree(nested(MAX_WEIGHT_DEPTH + 1)), file)).toThrow(/nests more than 8 levels/);
    expect(() => parseWeightTree(tree(nested(100)), file)).toThrow(/nests more than 64 levels/);
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    expect(() => parseWeightTree(`{"version":1,"weights":{"w":${deep}}}`, file)).toThrow(FileError);
  });

  test.each<[string, string, RegExp]>([
    ['no JSON', '{', /not valid JSON/],
    ['a list', '[]', /not a JSON object/],
    ['no version', '{"weights":{}}', /has version "undefined"/],
    ['a later version', '{"version":2,"weights":{}}', /has version "2".*Update/],
    ['an unknown key', '{"version":1,"weights":{},"x":1}', /unknown key "x"/],
    ['no weights', '{"version":1}', /no object "weights"/],
    ['weights as a list', '{"version":1,"weights":[]}', /no object "weights"/],
    ['a graph as text', '{"version":1,"weights":{},"graph":"x"}', /"graph" that is no object/],
    [
      'a weight twice',
      '{"version":1,"weights":{"w":{"kind":"dense","data":"full"},"w":{"kind":"dense","data":"half"}}}',
      /key "w" twice/,
    ],
    [
      'a reserved weight',
      '{"version":1,"weights":{"__proto__":{"kind":"dense","data":"full"}}}',
      /reserved key "__proto__"/,
    ],
    ['a reserved part', tree(quantized).replace('"codes"', '"__proto__"'), /reserved key "__proto__"/],
    ['no name', tree(dense('full'), ''), /a name of 0 characters/],
    ['a null', tree(null), /weight "w"/],
    ['an unknown kind', tree({ kind: 'magic' }), /weight "w", at "kind"/],
    ['an extra key', tree({ ...dense('full'), note: 1 }), /weight "w", at "note"/],
    ['a missing key', tree({ kind: 'dense' }), /weight "w", at "data"/],
    ['no such tensor', tree(dense('none')), /needs the tensor "none", which the file lacks/],
    ['integers as weights', tree(dense('ints')), /"ints" .*but it is I64/],
    ['another type of codes', tree({ ...quantized, parts: { codes: 'ints' } }), /"ints" .*but it is I64/],
    ['codes in three dimensions', tree({ ...quantized, parts: { codes: 'cube' } }), /its shape is \[2,2,2\]/],
    ['no parts', tree({ ...quantized, parts: {} }), /at "parts"/],
    ['a bad part name', tree({ ...quantized, parts: { 'a b': 'w.codes' } }), /at "parts\.a b"/],
    ['a group that does not divide', tree({ ...quantized, group: 48 }), /groups of 48 do not divide/],
    ['a group of 0', tree({ ...quantized, group: 0 }), /at "group"/],
    ['a fractional shape', tree({ ...quantized, shape: [8, 0.5] }), /at "shape\.1"/],
    ['an absurd shape', tree({ ...quantized, shape: [2 ** 40, 2 ** 40] }), /absurd shape/],
    ['a shape of three', tree({ ...quantized, shape: [8, 128, 1] }), /at "shape/],
    ['n above m', tree({ ...nm, n: 5 }), /keeps 5 of every 4/],
    [
      'values for fewer groups',
      tree({ ...nm, n: 3 }),
      /values with shape \[8,96\] or more columns, but they have \[8,64\]/,
    ],
    ['values of fewer rows', tree({ ...nm, values: dense('blocks') }), /but they have \[3,64\]/],
    ['indices as floats', tree({ ...nm, indices: 'half' }), /"half" .*but it is F16/],
    [
      'too few lists',
      tree({ ...blockSparse, block: [1, 32] }),
      /needs 17 or more numbers as its lists, but they have \[12\]/,
    ],
    [
      'more blocks than fit',
      tree({ ...blockSparse, block: [2, 128], shape: [8, 1], lists: 'lists5' }),
      /lists 5 blocks of \[2,128\]/,
    ],
    ['blocks of another size', tree({ ...blockSparse, block: [2, 64] }), /values with shape \[3,128\] or more columns/],
    ['another rank', tree({ ...lowRank, rank: 5 }), /left factor with shape \[8,5\]/],
    ['factors that do not meet', tree({ ...lowRank, right: dense('half') }), /right factor with shape \[4,64\]/],
    ['a factor that is no matrix', tree({ ...lowRank, left: { kind: 'sum', terms: [dense('full')] } }), /left factor/],
    [
      'terms of two shapes',
      tree({ kind: 'sum', terms: [dense('full'), dense('half')] }),
      /term 1 with shape \[8,128\]/,
    ],
    ['no terms', tree({ kind: 'sum', terms: [] }), /at "terms"/],
    ['too many terms', tree({ kind: 'sum', terms: Array(17).fill(dense('full')) }), /at "terms"/],
    ['a name that a plain tensor has', tree(dense('full'), 'taken'), /"taken" is also a plain tensor/],
  ])('with %s is refused', (_, json, message) => {
    const parse = (): WeightTree => parseWeightTree(json, file);
    expect(parse).toThrow(FileError);
    expect(parse).toThrow(message);
    expect(parse).toThrow(/m\.safetensors/);
  });

  test('that could not be read again is not written', () => {
    const bad: WeightTree = { version: 1, weights: new Map([['w', { ...quantized, group: 0 }]]) };
    expect(() => serializeWeightTree(bad)).toThrow(ArgumentError);
    const reserved: WeightTree = { version: 1, weights: new Map([['__proto__', dense('full')]]) };
    expect(() => serializeWeightTree(reserved)).toThrow(/reserved key/);
  });
});
