import { describe, expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { type ByteSource, memorySource } from '../../../src/files/source.ts';

/** A safetensors file of U8 vectors with the given contents. */
async function safetensors(
  tensors: Record<string, number[]>,
  metadata: Record<string, string> = {},
): Promise<Uint8Array> {
  const sink = memorySink();
  const specs = Object.entries(tensors).map(([name, data]): TensorSpec => ({ name, type: 'U8', shape: [data.length] }));
  const writer = await writeSafetensors(sink, specs, metadata);
  for (const [name, data] of Object.entries(tensors)) await writer.write(name, Uint8Array.from(data));
  await writer.finish();
  return sink.bytes();
}

/** Counts what is open. */
function counted(files: ModelFiles): ModelFiles & { open: ModelFiles['open']; stillOpen: () => number } {
  let open = 0;
  return {
    ...files,
    stillOpen: () => open,
    async open(name) {
      const source: ByteSource = await files.open(name);
      open++;
      return {
        ...source,
        async close() {
          open--;
          await source.close();
        },
      };
    },
  };
}

const index = (map: unknown): string => JSON.stringify({ metadata: { total_size: 4 }, weight_map: map });
const treeOf = (weights: unknown): string => JSON.stringify({ version: 1, weights });

const one = await safetensors({ a: [1] });
const withTree = await safetensors({ b: [1] }, { compressa: treeOf({}) });
const anotherTree = await safetensors({ a: [1] }, { compressa: treeOf({}) });
const badTree = await safetensors({ a: [1] }, { compressa: treeOf({ w: { kind: 'dense', data: 'x' } }) });
const twoTensors = await safetensors({ a: [1], z: [1] });
const INDEX = 'model.safetensors.index.json';

describe('openCheckpoint', () => {
  test('opens the sample model', async () => {
    const checkpoint = await openCheckpoint(await nodeFolder('models/union-7m'));
    expect(checkpoint.config?.model_type).toBe('llama');
    expect(checkpoint.tree).toBeUndefined();
    expect(checkpoint.tensors.get('model.embed_tokens.weight')).toMatchObject({ type: 'F16', shape: [4096, 256] });
    expect((await checkpoint.read('model.embed_tokens.weight', 4095, 1)).byteLength).toBe(512);
    const tokenizer = await checkpoint.fileBytes('tokenizer.json');
    expect(Object.keys(JSON.parse(new TextDecoder().decode(tokenizer)))).toContain('model');
    expect(await checkpoint.fileBytes('merges.txt')).toBeUndefined();
    await expect(checkpoint.fileBytes('../union-7m/config.json')).rejects.toThrow(/not the plain name/);
    await checkpoint.close();
  });

  test('opens a single file, which has no config', async () => {
    const checkpoint = await openCheckpoint(
      memorySource('a.safetensors', await safetensors({ a: [1, 2] }, { k: 'v' })),
    );
    expect(await checkpoint.read('a')).toEqual(Uint8Array.of(1, 2));
    expect(checkpoint.config).toBeUndefined();
    expect(checkpoint.metadata.k).toBe('v');
    expect(await checkpoint.fileBytes('tokenizer.json')).toBeUndefined();
    await expect(checkpoint.read('b')).rejects.toThrow(/a\.safetensors: there is no tensor "b"/);
  });

  test('opens shards, and closes every one', async () => {
    const files = counted(
      memoryFolder('m', {
        'model.safetensors.index.json': index({ a: 'one.safetensors', b: 'two.safetensors', c: 'one.safetensors' }),
        'one.safetensors': await safetensors({ a: [1], c: [3, 3] }),
        'two.safetensors': await safetensors({ b: [2] }),
      }),
    );
    const checkpoint = await openCheckpoint(files);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['a', 'b', 'c']);
    expect(await checkpoint.read('b')).toEqual(Uint8Array.of(2));
    expect(await checkpoint.read('c', 1, 1)).toEqual(Uint8Array.of(3));
    expect(files.stillOpen()).toBe(2);
    await checkpoint.close();
    expect(files.stillOpen()).toBe(0);
  });

  test('reads the weight tree', async () => {
    const sink = memorySink();
    const writer = await writeSafetensors(sink, [{ name: 'w.data', type: 'F16', shape: [2, 2] }], {
      compressa: treeOf({ w: { kind: 'dense', data: 'w.data' } }),
    });
    await writer.write('w.data', new Uint8Array(8));
    await writer.finish();
    const checkpoint = await openCheckpoint(memoryFolder('m', { 'model.safetensors': sink.bytes() }));
    expect(checkpoint.tree?.weights.get('w')).toEqual({ kind: 'dense', data: 'w.data' });
  });

  test.each<[string, Record<string, Uint8Array | string>, RegExp]>([
    ['no weights', { 'config.json': '{}' }, /m: there is neither model\.safetensors nor/],
    [
      'a config that is no object',
      { 'model.safetensors': one, 'config.json': '[]' },
      /m\/config\.json is not a JSON object/,
    ],
    [
      'a config with a key twice',
      { 'model.safetensors': one, 'config.json': '{"a":1,"a":2}' },
      /m\/config\.json has the key "a" twice/,
    ],
    ['broken weights', { 'model.safetensors': one.subarray(0, 20) }, /m\/model\.safetensors/],
    ['a broken tree', { 'model.safetensors': badTree }, /m\/model\.safetensors: weight "w" needs the tensor "x"/],
    ['an index without a map', { [INDEX]: '{}' }, /no "weight_map"/],
    ['an index with a number', { [INDEX]: index({ a: 1 }) }, /no "weight_map"/],
    ['an empty index', { [INDEX]: index({}) }, /names 0 files/],
    [
      'a shard outside',
      { [INDEX]: index({ a: '../one.safetensors' }) },
      /"\.\.\/one\.safetensors" is not the plain name/,
    ],
    ['a shard of another type', { [INDEX]: index({ a: 'pytorch_model.bin' }) }, /no \.safetensors file/],
    [
      'too many shards',
      { [INDEX]: index(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [i, `${i}.safetensors`]))) },
      /names 1025 files/,
    ],
    ['a missing shard', { [INDEX]: index({ a: 'one.safetensors' }) }, /there is no file "one\.safetensors"/],
    [
      'a tensor that its shard lacks',
      { [INDEX]: index({ b: 'one.safetensors' }), 'one.safetensors': one },
      /puts tensor "b" here/,
    ],
    [
      'a tensor that no one expects',
      { [INDEX]: index({ a: 'two.safetensors' }), 'two.safetensors': twoTensors },
      /holds tensor "z"/,
    ],
    [
      'two trees',
      {
        [INDEX]: index({ a: 'one.safetensors', b: 'two.safetensors' }),
        'one.safetensors': anotherTree,
        'two.safetensors': withTree,
      },
      /both hold a weight tree/,
    ],
  ])('refuses a folder with %s and closes what it opened', async (_, content, message) => {
    const files = counted(memoryFolder('m', content));
    const failure = openCheckpoint(files);
    await expect(failure).rejects.toThrow(FileError);
    await expect(failure).rejects.toThrow(message);
    expect(files.stillOpen()).toBe(0);
  });
});
