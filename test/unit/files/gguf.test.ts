import { describe, expect, test } from 'vitest';
import { ArgumentError, FileError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { f32, f32s, flag, type GgufEntry, i32s, text, texts, u32 } from '../../../src/files/gguf/entries.ts';
import { ggmlTypeByName, ggmlTypes } from '../../../src/files/gguf/ggml-types.ts';
import { readGguf } from '../../../src/files/gguf/read.ts';
import { readReordered, sourceRow, toHalfSplit, toInterleaved } from '../../../src/files/gguf/row-order.ts';
import { ValueType } from '../../../src/files/gguf/value-types.ts';
import { type GgufTensorSpec, writeGguf } from '../../../src/files/gguf/write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { blobSource, memorySource } from '../../../src/files/source.ts';
import { formats } from '../../../src/formats/registry.ts';
import { checkWeight, findWeight, readArrays, readValues, weightsOf } from '../../../src/passes/stored-weight.ts';
import * as raw from './fixtures/gguf-bytes.ts';

const type = (name: string) => ggmlTypeByName(name)!;

async function written(
  entries: readonly GgufEntry[],
  tensors: readonly (GgufTensorSpec & { readonly bytes: Uint8Array })[],
): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink('made.gguf');
  const writer = await writeGguf(sink, entries, tensors);
  for (const { name, bytes } of tensors) await writer.write(name, bytes);
  await writer.finish();
  return sink.bytes();
}

const counting = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (7 * i + 3) % 251);

describe('the writer', () => {
  test('writes what the specification says, byte for byte', async () => {
    const data = counting(32);
    const made = await written(
      [
        text('general.architecture', 'llama'),
        u32('a', 4_000_000_000),
        f32('b', 0.5),
        flag('c', true),
        i32s('d', [-1, 2]),
        texts('e', ['x', '', 'é']),
      ],
      [
        { name: 'w', type: type('f32'), shape: [2, 4], bytes: data },
        { name: 'v', type: type('f16'), shape: [3], bytes: counting(6) },
      ],
    );
    const { T } = raw;
    const expected = raw.gguf({
      entries: [
        raw.entry('general.architecture', T.STRING, raw.string('llama')),
        raw.entry('a', T.U32, raw.u32(4_000_000_000)),
        raw.entry('b', T.F32, raw.f32(0.5)),
        raw.entry('c', T.BOOL, raw.u8(1)),
        raw.entry('d', T.ARRAY, raw.array(T.I32, 2, raw.u32(0xffffffff), raw.u32(2))),
        raw.entry('e', T.ARRAY, raw.array(T.STRING, 3, raw.string('x'), raw.string(''), raw.string('é'))),
      ],
      tensors: [raw.info({ name: 'w', dims: [4, 2] }), raw.info({ name: 'v', dims: [3], type: 1, offset: 32 })],
      data: raw.join(data, counting(6), new Uint8Array(26)),
    });
    expect(made).toEqual(expected);
  });

  test('refuses what no reader would take, and leaves nothing', async () => {
    const spec = { name: 'w', type: type('q4_0'), shape: [1, 32] };
    const start = (entries: readonly GgufEntry[], tensors: readonly GgufTensorSpec[]) =>
      writeGguf(memorySink('made.gguf'), entries, tensors);
    await expect(start([u32('a', 1), u32('a', 2)], [])).rejects.toThrow(ArgumentError);
    await expect(start([u32('a', -1)], [])).rejects.toThrow(/-1 can't be written/);
    await expect(start([u32('a', 1.5)], [])).rejects.toThrow(ArgumentError);
    await expect(start([text('a', '\ud800')], [])).rejects.toThrow(/not valid Unicode/);
    await expect(start([], [spec, spec])).rejects.toThrow(/written twice/);
    await expect(start([], [{ ...spec, shape: [1, 33] }])).rejects.toThrow(/no usable shape/);
    await expect(start([], [{ ...spec, shape: [] }])).rejects.toThrow(ArgumentError);
    await expect(start([], [{ ...spec, name: 'x'.repeat(300) }])).rejects.toThrow(/too long/);
    const sink = memorySink('made.gguf');
    const writer = await writeGguf(sink, [], [spec]);
    await expect(writer.write('v', new Uint8Array(1))).rejects.toThrow(/"w" comes next/);
    await expect(writer.write('w', new Uint8Array(19))).rejects.toThrow(/takes 18 bytes; 19 came/);
    await writer.write('w', new Uint8Array(17));
    await expect(writer.finish()).rejects.toThrow(/17 of its 18 bytes/);
    await writer.abort();
    expect(() => sink.bytes()).toThrow(FileError);
  });
});

describe('the reader', () => {
  const entries: GgufEntry[] = [
    text('general.name', 'naïve'),
    { key: 'big', type: ValueType.UINT64, value: 2n ** 60n },
    { key: 'negative', type: ValueType.INT64, value: -5n },
    { key: 'wide', type: ValueType.FLOAT64, value: 0.1 },
    f32s('scores', [0, -1.5]),
    texts('tokens', ['a', '', '\u{1f999}']),
    i32s('types', [-3]),
    texts('none', []),
  ];
  const tensors = ggmlTypes.map((each) => {
    const shape = [3, 2 * each.block];
    return { name: `t.${each.name}`, type: each, shape, bytes: counting(6 * each.bytes) };
  });

  test.each(['memory', 'a Blob'])('gives back what was written, from %s, for every type of ggml', async (where) => {
    const bytes = await written(entries, tensors);
    const source = where === 'memory' ? memorySource('f', bytes) : blobSource('f', new Blob([bytes]));
    const file = await readGguf(source);
    expect(file.scalars.get('general.name')).toEqual({ type: ValueType.STRING, value: 'naïve' });
    expect(file.scalars.get('big')?.value).toBe(2n ** 60n);
    expect(file.scalars.get('negative')?.value).toBe(-5n);
    expect(file.scalars.get('wide')?.value).toBe(0.1);
    expect(await file.numbers('scores')).toEqual([0, -1.5]);
    expect(await file.strings('tokens')).toEqual(['a', '', '\u{1f999}']);
    expect(await file.numbers('types')).toEqual([-3]);
    expect(await file.strings('none')).toEqual([]);
    expect(await file.strings('absent')).toBeUndefined();
    await expect(file.strings('types')).rejects.toThrow(FileError);
    expect([...file.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    for (const { name, type: each, shape, bytes: expected } of tensors) {
      const tensor = file.tensors.get(name)!;
      expect(tensor).toMatchObject({ type: each, shape });
      expect(await file.rows(tensor, 0, 3)).toEqual(expected);
      expect(await file.rows(tensor, 1, 1)).toEqual(expected.slice(2 * each.bytes, 4 * each.bytes));
    }
    await expect(file.rows(file.tensors.get('t.f32')!, 2, 2)).rejects.toThrow(ArgumentError);
    await file.close();
  });

  test('takes a header of several megabytes, whose arrays it does not hold', async () => {
    const tokens = Array.from({ length: 200_000 }, (_, i) => `token number ${i}`);
    const many = Array.from({ length: 4000 }, (_, i) => ({
      name: `blk.${i}.${'w'.repeat(100)}`,
      type: type('i8'),
      shape: [1],
      bytes: counting(1),
    }));
    const file = await readGguf(memorySource('f', await written([texts('tokens', tokens), text('after', 'x')], many)));
    expect(file.tensors.size).toBe(4000);
    expect(file.scalars.get('after')?.value).toBe('x');
    expect(await file.strings('tokens')).toEqual(tokens);
  });
});

describe('rows of queries and keys', () => {
  // Two heads of six rows: row 2i of a head is its row i, and row 2i + 1 its row i + 3.
  const halfSplit = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15];
  const interleaved = [0, 3, 1, 4, 2, 5, 10, 13, 11, 14, 12, 15];
  const reader = (rows: readonly number[]) => async (start: number, count: number) =>
    Uint8Array.from(rows.slice(start, start + count).flatMap((row) => [row, 100 + row]));
  const rowsOf = (bytes: Uint8Array) => [...bytes].filter((_, i) => i % 2 === 0);

  test('move between the two orders as in an example made by hand', async () => {
    expect(rowsOf(await readReordered(reader(halfSplit), toInterleaved(6), 0, 12))).toEqual(interleaved);
    expect(rowsOf(await readReordered(reader(interleaved), toHalfSplit(6), 0, 12))).toEqual(halfSplit);
    const pairs = await readReordered(reader(halfSplit), toInterleaved(6), 1, 1);
    expect([...pairs]).toEqual([3, 103]);
  });

  test('are the same read in parts, across heads, as at once', async () => {
    for (let start = 0; start <= 12; start++) {
      for (let count = 0; start + count <= 12; count++) {
        const part = await readReordered(reader(halfSplit), toInterleaved(6), start, count);
        expect(rowsOf(part)).toEqual(interleaved.slice(start, start + count));
      }
    }
    expect(sourceRow(toInterleaved(6), 7)).toBe(9);
    expect(() => toHalfSplit(3)).toThrow(ArgumentError);
  });
});

describe('a checkpoint', () => {
  const ggml = formats.filter((format) => format.kind === 'block' && format.codecs.ggml);

  test.each(ggml.map((format) => [format.name, format] as const))(
    'shows blocks of %s as the arrays that the codec makes of them',
    async (name, format) => {
      const k = Math.max(64, format.block);
      const values = Float32Array.from({ length: 6 * k }, (_, i) => Math.sin(i * i) * (1 + (i % 5)));
      const arrays = format.reference.quantize(values, 6, k);
      const bytes = format.codecs.ggml!.encode(arrays, 6, k);
      const file = await written([], [{ name: 'some.weight', type: type(name), shape: [6, k], bytes }]);
      const checkpoint = await openCheckpoint(memorySource('f', file), { checkWeight });
      const weight = findWeight(checkpoint, 'some.weight');
      if (weight.kind !== 'quantized') throw new Error('It is not quantized.');
      expect(weight.format).toBe(format);
      expect(await readArrays(checkpoint, weight, 0, 6)).toEqual(arrays);
      expect(await readValues(checkpoint, weight)).toEqual(format.reference.dequantize(arrays, 6, k));
      const rows = await readValues(checkpoint, weight, 2, 3);
      expect(rows).toEqual(format.reference.dequantize(arrays, 6, k).slice(2 * k, 5 * k));
      expect(checkpoint.config).toBeUndefined();
    },
  );

  test('lists, sizes and copies what no format reads, and names it where it is used', async () => {
    const bytes = counting(2 * 66);
    const file = await written([], [{ name: 'some.weight', type: type('iq2_xxs'), shape: [2, 256], bytes }]);
    const checkpoint = await openCheckpoint(memorySource('f', file), { checkWeight });
    const opaque = checkpoint.opaque!.get('some.weight')!;
    expect(opaque).toMatchObject({ type: 'iq2_xxs', shape: [2, 256], data: { byteLength: 132, shape: [2, 66] } });
    expect(await checkpoint.read(opaque.data)).toEqual(bytes);
    expect(await checkpoint.read(opaque.data, 1, 1)).toEqual(bytes.slice(66));
    expect(() => findWeight(checkpoint, 'some.weight')).toThrow(/"some\.weight" is stored as iq2_xxs/);
    expect(() => weightsOf(checkpoint)).toThrow(FileError);
  });
});
