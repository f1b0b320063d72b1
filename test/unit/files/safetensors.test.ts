import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArgumentError, CancelledError, FileError } from '../../../src/errors.ts';
import { ELEMENT_BYTES } from '../../../src/files/element-type.ts';
import { readSafetensors } from '../../../src/files/safetensors-read.ts';
import { alignedOrder, byteLengthOf, type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { ElementType } from '../../../src/formats/format.ts';

const types = Object.keys(ELEMENT_BYTES) as ElementType[];

const tensorSpec = fc
  .record({
    name: fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.constantFrom('__proto__', 'constructor', 'toString', '7', '"', '\\', 'a\u0000b'),
    ),
    type: fc.constantFrom(...types),
    shape: fc.array(fc.nat(5), { maxLength: 4 }),
  })
  // Types of less than a byte have to end at one.
  .map((spec) => ({ ...spec, shape: ELEMENT_BYTES[spec.type] < 1 ? [...spec.shape, 8] : spec.shape }));
const tensorSpecs = fc.uniqueArray(tensorSpec, { selector: (spec) => spec.name, maxLength: 8 });
const metadata = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ unit: 'grapheme' }), { maxKeys: 4 });

/** Bytes that differ from tensor to tensor and from place to place. */
const contentOf = (spec: TensorSpec, seed: number): Uint8Array =>
  Uint8Array.from({ length: byteLengthOf(spec) }, (_, i) => (i * 31 + seed * 17) % 256);

async function write(specs: readonly TensorSpec[], strings: Record<string, string>, piece = 7): Promise<Uint8Array> {
  const sink = memorySink('out');
  const writer = await writeSafetensors(sink, specs, strings);
  for (const [seed, spec] of specs.entries()) {
    const content = contentOf(spec, seed);
    for (let at = 0; at < content.length; at += piece) await writer.write(spec.name, content.subarray(at, at + piece));
  }
  await writer.finish();
  return sink.bytes();
}

describe('safetensors', () => {
  test('what is written is read again', async () => {
    await fc.assert(
      fc.asyncProperty(tensorSpecs, metadata, fc.integer({ min: 1, max: 50 }), async (specs, strings, piece) => {
        const file = await readSafetensors(memorySource('file', await write(specs, strings, piece)));
        expect({ ...file.metadata }).toEqual({ ...strings });
        expect(new Set(file.tensors.keys())).toEqual(new Set(specs.map((spec) => spec.name)));
        for (const [seed, spec] of specs.entries()) {
          expect(file.tensors.get(spec.name)).toMatchObject(spec);
          expect(await file.read(spec.name)).toEqual(contentOf(spec, seed));
        }
      }),
      { seed: 1, numRuns: 150 },
    );
  });

  test('the bytes do not depend on how data was cut or metadata ordered', async () => {
    const specs: TensorSpec[] = [
      { name: 'a', type: 'F32', shape: [3, 2] },
      { name: 'b', type: 'U8', shape: [5] },
    ];
    const one = await write(specs, { x: '1', y: '2' }, 1);
    expect(await write(specs, { y: '2', x: '1' }, 100)).toEqual(one);
  });

  test('the layout is that of the specification', async () => {
    const bytes = await write([{ name: 'a', type: 'U8', shape: [2] }], { k: 'v' });
    const json = '{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8, ' ');
    expect(new DataView(bytes.buffer).getBigUint64(0, true)).toBe(BigInt(padded.length));
    expect(new TextDecoder().decode(bytes.subarray(8, 8 + padded.length))).toBe(padded);
    expect([...bytes.subarray(8 + padded.length)]).toEqual([0, 31]);
  });

  test('aligned order starts every tensor at a multiple of its element size', async () => {
    await fc.assert(
      fc.asyncProperty(tensorSpecs, async (specs) => {
        const file = await readSafetensors(memorySource('file', await write(alignedOrder(specs), {})));
        for (const { type, offset } of file.tensors.values()) expect(offset % Math.max(1, ELEMENT_BYTES[type])).toBe(0);
      }),
      { seed: 2, numRuns: 50 },
    );
  });

  test('rows are read alone', async () => {
    const spec: TensorSpec = { name: 'a', type: 'U16', shape: [4, 3] };
    const file = await readSafetensors(memorySource('file', await write([spec], {})));
    const all = contentOf(spec, 0);
    expect(await file.read('a', 1, 2)).toEqual(all.slice(6, 18));
    expect(await file.read('a', 3)).toEqual(all.slice(18));
    expect(await file.read(file.tensors.get('a')!, 4, 0)).toEqual(new Uint8Array(0));
    for (const [start, count] of [
      [0, 5],
      [4, 1],
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [5, 0],
      [0, Number.NaN],
    ] as const) {
      await expect(file.read('a', start, count)).rejects.toThrow(ArgumentError);
    }
    await expect(file.read('a', 0, 1, AbortSignal.abort())).rejects.toThrow(CancelledError);
  });

  test('every type that the reference implementation has is read and written', async () => {
    // Bits of an element, as `Dtype::bitsize` has them.
    const bits: Record<ElementType, number> = {
      ...{ F4: 4, F6_E2M3: 6, F6_E3M2: 6, F8_E4M3: 8, F8_E5M2: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8 },
      ...{ BOOL: 8, U8: 8, I8: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32 },
      ...{ C64: 64, F64: 64, I64: 64, U64: 64 },
    };
    expect(new Set(types)).toEqual(new Set(Object.keys(bits)));
    const specs = types.map((type): TensorSpec => ({ name: type, type, shape: [16, 3] }));
    const file = await readSafetensors(memorySource('file', await write(specs, {})));
    for (const [seed, spec] of specs.entries()) {
      const all = contentOf(spec, seed);
      expect(all.byteLength).toBe((16 * 3 * bits[spec.type]) / 8);
      expect(await file.read(spec.name)).toEqual(all);
      expect(await file.read(spec.name, 8, 8)).toEqual(all.slice(all.byteLength / 2));
    }
    await expect(file.read('F4', 0, 1)).rejects.toThrow(/1 rows of tensor "F4" from row 0 are no whole bytes of F4/);
    await expect(file.read('F6_E3M2', 1, 8)).rejects.toThrow(ArgumentError);
  });

  test('an unknown tensor comes with the nearest name', async () => {
    const specs: TensorSpec[] = ['model.norm.weight', 'lm_head.weight'].map((name) => ({
      name,
      type: 'U8',
      shape: [1],
    }));
    const file = await readSafetensors(memorySource('file', await write(specs, {})));
    await expect(file.read('model.nrm.weight')).rejects.toThrow(
      /file: there is no tensor "model\.nrm\.weight"\. Did you mean "model\.norm\.weight"/,
    );
    await expect(file.read('toString')).rejects.toThrow(FileError);
  });

  test('the writer refuses data out of order, too much and too little', async () => {
    const specs: TensorSpec[] = [
      { name: 'empty', type: 'F32', shape: [0, 4] },
      { name: 'a', type: 'U8', shape: [2] },
      { name: 'b', type: 'U8', shape: [2] },
    ];
    const writer = await writeSafetensors(memorySink('out'), specs);
    await expect(writer.write('b', new Uint8Array(2))).rejects.toThrow(/"a" comes next/);
    await expect(writer.write('a', new Uint8Array(3))).rejects.toThrow(/takes 2 bytes; 3 came/);
    await writer.write('a', new Uint8Array(2));
    await writer.write('b', new Uint8Array(1));
    await expect(writer.finish()).rejects.toThrow(/"b" has 1 of its 2 bytes/);
    await writer.write('b', new Uint8Array(1));
    await expect(writer.write('b', new Uint8Array(1))).rejects.toThrow(/all tensors are complete/);
    await writer.finish();
  });

  test.each<[string, TensorSpec[]]>([
    [
      'a name twice',
      [
        { name: 'a', type: 'U8', shape: [1] },
        { name: 'a', type: 'U8', shape: [1] },
      ],
    ],
    ['a reserved name', [{ name: '__metadata__', type: 'U8', shape: [1] }]],
    ['a long name', [{ name: 'x'.repeat(1025), type: 'U8', shape: [1] }]],
    ['half a surrogate pair', [{ name: 'a\ud800', type: 'U8', shape: [1] }]],
    ['a negative size', [{ name: 'a', type: 'U8', shape: [-1] }]],
    ['a fraction', [{ name: 'a', type: 'U8', shape: [1.5] }]],
    ['an absurd size', [{ name: 'a', type: 'U8', shape: [2 ** 30, 2 ** 30] }]],
    ['half a byte', [{ name: 'a', type: 'F4', shape: [3, 5] }]],
    ['nine dimensions', [{ name: 'a', type: 'U8', shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] }]],
  ])('the writer refuses %s', async (_, specs) => {
    await expect(writeSafetensors(memorySink('out'), specs)).rejects.toThrow(ArgumentError);
  });
});
