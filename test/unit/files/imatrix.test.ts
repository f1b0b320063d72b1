import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Imatrix, ImatrixTarget } from '../../../src/files/gguf/imatrix.ts';
import { readImatrix } from '../../../src/files/gguf/imatrix-read.ts';
import { writeImatrix } from '../../../src/files/gguf/imatrix-write.ts';
import { readGguf } from '../../../src/files/gguf/read.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { graphOf } from '../../../src/models/families.ts';
import { array, entry, f32, gguf, info, join, string, T, u32 } from './fixtures/gguf-bytes.ts';

const config = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../models/union-7m/config.json', import.meta.url)), 'utf8'),
);
const graph = graphOf(config, 'config.json');
const linear = graph.weights.filter(({ role }) => role === 'linear');

/** Numbers that f32 holds times 1024 without rounding. */
const importance = new Map(
  linear.map(({ name, shape }, i) => [name, Float32Array.from({ length: shape[1]! }, (_, j) => (i + 1) / (j + 1))]),
);
const imatrix: Imatrix = { importance, datasets: ['calibration.txt'], chunkCount: 4, chunkSize: 256 };

async function written(what: Imatrix): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink('m.gguf');
  await writeImatrix(sink, what);
  return sink.bytes();
}

const read = (bytes: Uint8Array<ArrayBuffer>, targets: readonly ImatrixTarget[] = graph.weights) =>
  readImatrix(memorySource('m.imatrix', bytes), targets);

describe('GGUF', () => {
  test('what is written is read again, number by number where tokens are a power of two', async () => {
    const back = await read(await written(imatrix));
    expect(back).toEqual({ ...imatrix, importance: new Map(importance) });
  });

  test('other numbers of tokens cost a rounding at most', async () => {
    const back = await read(await written({ ...imatrix, chunkCount: 7, chunkSize: 100 }));
    for (const [name, means] of importance) {
      for (const [j, mean] of back.importance.get(name)!.entries()) {
        expect(Math.abs(mean / means[j]! - 1)).toBeLessThanOrEqual(2 ** -23);
      }
    }
  });

  test('the file is as llama-imatrix lays it out', async () => {
    const file = await readGguf(memorySource('m.gguf', await written(imatrix)));
    const own = [...file.scalars].filter(([key]) => key.includes('.'));
    expect(own.map(([key, { type, value }]) => [key, type, value])).toEqual([
      ['general.type', T.STRING, 'imatrix'],
      ['imatrix.chunk_count', T.U32, 4],
      ['imatrix.chunk_size', T.U32, 256],
    ]);
    expect(await file.strings('imatrix.datasets')).toEqual(['calibration.txt']);
    const names = [...file.tensors.keys()];
    expect(names).toHaveLength(2 * linear.length);
    expect(names.slice(0, 2)).toEqual(['blk.0.attn_k.weight.in_sum2', 'blk.0.attn_k.weight.counts']);
    const matrices = names.filter((name) => name.endsWith('.in_sum2'));
    expect(matrices).toEqual(matrices.toSorted());
    const down = file.tensors.get('blk.3.ffn_down.weight.in_sum2')!;
    expect([down.type.name, down.shape]).toEqual(['f32', [768]]);
    const sums = new Float32Array((await file.rows(down, 0, 768)).slice().buffer);
    expect(sums).toEqual(importance.get('model.layers.3.mlp.down_proj.weight')!.map((x) => 1024 * x));
    const counts = file.tensors.get('blk.3.ffn_down.weight.counts')!;
    expect(new Float32Array((await file.rows(counts, 0, 1)).slice().buffer)).toEqual(Float32Array.of(1024));
  });

  test('the same input gives the same bytes, in whatever order it comes', async () => {
    const turned = { ...imatrix, importance: new Map([...importance].reverse()) };
    expect(Buffer.compare(await written(imatrix), await written(turned))).toBe(0);
  });

  test('what can’t be written is said', async () => {
    const one = (name: string, ...values: number[]) =>
      written({ ...imatrix, importance: new Map([[name, Float32Array.from(values)]]) });
    await expect(one('encoder.weight', 1)).rejects.toThrow(/"encoder\.weight" has no name in GGUF/);
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, 3e38]) {
      await expect(one('lm_head.weight', 1, bad)).rejects.toThrow(/column 1 of "lm_head\.weight"/);
    }
    for (const change of [{ chunkCount: 0 }, { chunkSize: 2 ** 23 }, { chunkCount: 1.5 }, { chunkSize: Number.NaN }]) {
      await expect(written({ ...imatrix, ...change })).rejects.toThrow(ArgumentError);
    }
  });
});

/** A model of one matrix, so that files are made by hand. */
const target = { name: 'model.layers.0.mlp.down_proj.weight', shape: [2, 4], role: 'linear' };
const head = { name: 'lm_head.weight', shape: [5, 4], role: 'head' };
const NAME = 'blk.0.ffn_down.weight';

test('a file by hand: rows of one matrix, as ggml may list them; Σx² over the count, and nothing asked of the head', async () => {
  const bytes = gguf({
    entries: [
      entry('general.type', T.STRING, string('imatrix')),
      entry('imatrix.datasets', T.ARRAY, array(T.STRING, 2, string('a.txt'), string('b.txt'))),
    ],
    tensors: [
      info({ name: `${NAME}.in_sum2`, dims: [4, 1] }),
      info({ name: `${NAME}.counts`, dims: [1, 1], offset: 32 }),
      // Sums of x, which newer files have as well.
      info({ name: `${NAME}.in_sum`, dims: [4, 1], offset: 64 }),
    ],
    data: join(
      ...[6, 0, 3, 12].map(f32),
      new Uint8Array(16),
      f32(3),
      new Uint8Array(28),
      ...[1, -1, 1, 1].map(f32),
      new Uint8Array(16),
    ),
  });
  const back = await read(bytes, [target, head]);
  expect([...back.importance]).toEqual([[target.name, Float32Array.of(2, 0, 1, 4)]]);
  expect(back).toMatchObject({ datasets: ['a.txt', 'b.txt'], chunkCount: 0, chunkSize: 0 });
});

describe('the older form', () => {
  const legacy = (calls: number, ...more: Uint8Array[]) =>
    join(
      u32(1),
      u32(NAME.length),
      new TextEncoder().encode(NAME),
      u32(calls),
      u32(4),
      ...[6, 0, 3, 12].map(f32),
      ...more,
    );

  test('means times calls, and the text', async () => {
    const text = join(u32(9), u32(5), new TextEncoder().encode('a.txt'));
    expect(await read(legacy(3, text), [target])).toEqual({
      importance: new Map([[target.name, Float32Array.of(2, 0, 1, 4)]]),
      datasets: ['a.txt'],
      chunkCount: 9,
      chunkSize: 0,
    });
    expect((await read(legacy(3), [target])).datasets).toEqual([]);
  });

  test('a matrix that was never called counts every column as one', async () => {
    const { importance: found } = await read(legacy(0), [target]);
    expect(found.get(target.name)).toEqual(new Float32Array(4).fill(1));
  });
});
