import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { expectRefusal } from './expect-refusal.ts';
import { file, sound } from './safetensors-bytes.ts';

const INDEX = 'model.safetensors.index.json';
type Files = Record<string, Uint8Array | string>;

const index = (map: unknown, more: object = {}): string => JSON.stringify({ ...more, weight_map: map });
const a = sound({ a: ['U8', [1], 1] });
const b = sound({ b: ['U8', [1], 1] });
/** A folder whose index puts a tensor into that file. */
const shard = (name: string): Files => ({ [INDEX]: index({ a: name }), 'one.safetensors': a });
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;

const HOSTILE: [string, Files, RegExp][] = [
  // The index.
  ['no index and no file', {}, /neither model\.safetensors nor model\.safetensors\.index\.json/],
  ['an index of no bytes', { [INDEX]: '' }, /index\.json is not valid JSON/],
  ['an index that is cut', { [INDEX]: index({ a: 'one.safetensors' }).slice(0, -3) }, /not valid JSON/],
  ['an index that is no UTF-8', { [INDEX]: Uint8Array.of(0x7b, 0xff, 0x7d) }, /not valid UTF-8/],
  ['an index that is a list', { [INDEX]: '[]' }, /not a JSON object/],
  ['an index that is null', { [INDEX]: 'null' }, /not a JSON object/],
  ['an index that is nested 100,000 deep', { [INDEX]: nested(100_000) }, /not valid JSON|nests more than 64 levels/],
  ['an index that is nested 65 deep', { [INDEX]: nested(65) }, /nests more than 64 levels/],
  ['an index without a map', { [INDEX]: '{"metadata":{}}' }, /no "weight_map"/],
  ['a map that is a list', { [INDEX]: index(['one.safetensors']) }, /no "weight_map"/],
  ['a map that is text', { [INDEX]: index('one.safetensors') }, /no "weight_map"/],
  ['a map to numbers', { [INDEX]: index({ a: 1 }) }, /no "weight_map"/],
  ['a map to objects', { [INDEX]: index({ a: { file: 'one.safetensors' } }) }, /no "weight_map"/],
  ['a map of nothing', { [INDEX]: index({}) }, /names 0 files/],
  ['a map twice', { [INDEX]: '{"weight_map":{"a":"x"},"weight_map":{"a":"y"}}' }, /key "weight_map" twice/],
  [
    'a tensor twice',
    { [INDEX]: '{"weight_map":{"a":"one.safetensors","\\u0061":"two.safetensors"}}' },
    /key "a" twice/,
  ],
  ['a tensor called __proto__', { [INDEX]: '{"weight_map":{"__proto__":"x"}}' }, /reserved key "__proto__"/],
  ['a tensor called constructor', { [INDEX]: index({ constructor: 'x' }) }, /reserved key "constructor"/],
  [
    '1,025 shards',
    { [INDEX]: index(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [i, `${i}.safetensors`]))) },
    /names 1025 files; between 1 and 1024/,
  ],
  // Names that leave the folder (CWE-22), or that a system takes for something else.
  ['a shard above it', shard('../one.safetensors'), /"\.\.\/one\.safetensors" is not the plain name/],
  ['a shard far above it', shard('../../../../etc/one.safetensors'), /not the plain name/],
  ['a shard in a subfolder', shard('x/one.safetensors'), /not the plain name/],
  ['an absolute shard', shard('/etc/one.safetensors'), /not the plain name/],
  ['a shard behind a backslash', shard('..\\one.safetensors'), /not the plain name/],
  ['a shard on a drive', shard('C:one.safetensors'), /not the plain name/],
  ['a shard on a drive, absolute', shard('C:\\one.safetensors'), /not the plain name/],
  ['a shard on another machine', shard('\\\\host\\share\\one.safetensors'), /not the plain name/],
  ['a shard by URL', shard('http://host/one.safetensors'), /not the plain name/],
  ['a shard in a data stream', shard('one.safetensors:x.safetensors'), /not the plain name/],
  ['a shard with a zero byte', shard('one.safetensors\u0000.safetensors'), /"one\.safetensors\\u0000/],
  ['a shard with a line feed', shard('one\n.safetensors'), /not the plain name/],
  ['a shard called ..', shard('..'), /not the plain name/],
  ['a shard without a name', shard(''), /not the plain name/],
  ['a shard of 256 characters', shard(`${'x'.repeat(244)}.safetensors`), /not the plain name/],
  ['a shard with a wildcard', shard('*.safetensors'), /not the plain name/],
  ['a shard that drives a terminal', shard('\u009b2Jone.safetensors'), /"\\u009b2Jone\.safetensors" can't be shown/],
  ['a shard that is written backwards', shard('\u202eone.safetensors'), /"\\u202eone\.safetensors" can't be shown/],
  ['half a surrogate pair', shard('\ud800one.safetensors'), /can't be shown/],
  // Files that run code when they are read (CWE-502), or that are no weights.
  ['a pickle as shard', shard('pytorch_model.bin'), /tensor "a" into "pytorch_model\.bin", which is no \.safetensors/],
  ['its index as shard', shard(INDEX), /no \.safetensors file/],
  // Shards that do not fit.
  [
    'a shard that is missing',
    shard('two.safetensors'),
    /there is no file "two\.safetensors".* The index bad\/model\.safetensors\.index\.json names it/,
  ],
  [
    'a shard that is no safetensors file',
    { ...shard('x.safetensors'), 'x.safetensors': 'PK\u0003\u0004 and so on' },
    /header length/,
  ],
  [
    'a shard that is a GGUF file',
    { ...shard('x.safetensors'), 'x.safetensors': 'GGUF\u0003\u0000\u0000\u0000 etc.' },
    /header length/,
  ],
  [
    'a shard that is cut',
    { ...shard('x.safetensors'), 'x.safetensors': a.subarray(0, -1) },
    /tensor "a" reaches offset/,
  ],
  [
    'a tensor that its shard lacks',
    { [INDEX]: index({ b: 'one.safetensors' }), 'one.safetensors': a },
    /puts tensor "b" here/,
  ],
  [
    'a tensor that is in two shards',
    {
      [INDEX]: index({ a: 'one.safetensors', b: 'two.safetensors' }),
      'one.safetensors': a,
      'two.safetensors': sound({ a: ['U8', [1], 1], b: ['U8', [1], 1] }),
    },
    /two\.safetensors: it holds tensor "a", which the index/,
  ],
  [
    'a shard that is good and one that is not',
    {
      [INDEX]: index({ a: 'one.safetensors', b: 'two.safetensors' }),
      'one.safetensors': a,
      'two.safetensors': b.subarray(0, 20),
    },
    /two\.safetensors: the header at offset 8/,
  ],
  // Files beside the weights.
  ['a config that is nested', { 'model.safetensors': a, 'config.json': nested(1000) }, /nests more than 64 levels/],
  ['a config with a key twice', { 'model.safetensors': a, 'config.json': '{"a":1,"a":2}' }, /the key "a" twice/],
  [
    'a config that reaches a prototype',
    { 'model.safetensors': a, 'config.json': '{"__proto__":{"model_type":"llama"}}' },
    /reserved key "__proto__"/,
  ],
  ['a config that is text', { 'model.safetensors': a, 'config.json': '"llama"' }, /config\.json is not a JSON object/],
];

describe('a hostile folder', () => {
  test.each(HOSTILE)('with %s is refused by name, at once', (_, files, message) =>
    expectRefusal(() => openCheckpoint(memoryFolder('bad', files)), 'bad', message),
  );

  test('cannot reach a prototype by its index', async () => {
    await openCheckpoint(memoryFolder('bad', { [INDEX]: '{"weight_map":{"__proto__":"x"}}' })).catch(() => undefined);
    expect(Object.hasOwn(Object.prototype, 'a')).toBe(false);
  });

  test('with 100,000 tensors of which the index lacks one is refused at once', async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `layers.${i}.weight`);
    const empty = Object.fromEntries(names.map((name) => [name, { dtype: 'U8', shape: [0], data_offsets: [0, 0] }]));
    const files: Files = {
      [INDEX]: index(Object.fromEntries(names.slice(0, -1).map((name) => [name, 'one.safetensors']))),
      'one.safetensors': file(empty),
    };
    const started = performance.now();
    await expect(openCheckpoint(memoryFolder('bad', files))).rejects.toThrow(/it holds tensor "layers\.99999\.weight"/);
    // Reading that many entries takes most of it; comparing each with each would take a minute.
    expect(performance.now() - started).toBeLessThan(30_000);
  });
});
