import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { maskWords } from '../../../src/kernels/mask-pattern.ts';
import { packSparseStep, unpackSparseStep } from '../../../src/kernels/pack-sparse.ts';
import { packSparse, unpackSparse } from '../../../src/kernels/reference/pack-sparse.ts';
import { type SparsePattern, sparseLayout } from '../../../src/kernels/sparse-layout.ts';
import { generator, openBench, SHAPES } from '../layers/bench.ts';
import { anyMasked, anyPattern } from './cases.ts';

const bench = openBench();
const upload = (bytes: Uint8Array) => bench.upload(new Uint32Array(bytes.slice().buffer));
const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer);

test.each([
  ['f32', 'f32'],
  ['f32', 'f16'],
  ['f16', 'f16'],
  ['bf16', 'f32'],
])('the 200 shapes: %s packed with values in %s, and unpacked', async (from, to) => {
  const [source, format] = [formatByName(from), formatByName(to)];
  const next = generator(from.length + 7 * to.length);
  for (let shape = 0; shape < SHAPES; shape++) {
    const pattern = anyPattern(next);
    const { weights, mask, rows, k } = anyMasked(next, pattern, 80);
    const layout = sparseLayout(pattern, format, rows, k);
    const { slots, bands, words } = layout;
    const stored = source.reference.quantize(weights, rows, k).data!;
    const wanted = packSparse(source.reference.dequantize({ data: stored }, rows, k), mask, rows, k, layout);
    const wantedValues = format.reference.quantize(wanted.values, rows, slots).data!;
    const packed = {
      ...{ format, pattern, rows, k },
      values: [bench.room(wantedValues.length / 4)],
      columns: bench.room(bands * words),
    };
    const dense = bench.room(rows * k);
    await bench.gpu.scheduler.run([
      packSparseStep({ ...packed, source, from: upload(stored), mask: bench.upload(mask) }),
      unpackSparseStep({ ...packed, to: dense }),
    ]);
    const what = `${JSON.stringify(pattern)}, ${rows}x${k}`;
    const got = await bench.words(packed.values[0]!, wantedValues.length / 4);
    expect(got, what).toEqual(new Uint32Array(wantedValues.buffer));
    expect(await bench.words(packed.columns, bands * words), what).toEqual(wanted.columns);
    const values = format.reference.dequantize({ data: wantedValues }, rows, slots);
    const unpacked = unpackSparse({ values, columns: wanted.columns }, rows, k, layout);
    expect(await bench.words(dense, rows * k), what).toEqual(bitsOf(unpacked));
    bench.release();
  }
});

// What a packed matrix is for: nothing that the mask keeps is lost, and everything else is zero.
test('unpacked, a matrix is what its mask leaves of it', () => {
  const next = generator(9);
  for (let shape = 0; shape < SHAPES; shape++) {
    const pattern = anyPattern(next);
    const { weights, mask, rows, k } = anyMasked(next, pattern, 60);
    const layout = sparseLayout(pattern, formatByName('f32'), rows, k);
    const across = maskWords(1, k);
    const masked = weights.map((w, at) => {
      const [row, column] = [Math.floor(at / k), at % k];
      return (mask[row * across + (column >> 5)]! >>> (column & 31)) & 1 ? w : 0;
    });
    expect(bitsOf(unpackSparse(packSparse(weights, mask, rows, k, layout), rows, k, layout))).toEqual(bitsOf(masked));
  }
});

test('2:4 takes a slot for two columns, and two bits for a slot', () => {
  const f16 = formatByName('f16');
  expect(sparseLayout({ kind: 'n:m', keep: 2, of: 4 }, f16, 10, 64)).toEqual({
    ...{ keep: 2, of: 4, band: 1, bands: 10, groups: 16, slots: 32, bits: 2, words: 2 },
  });
  expect(sparseLayout({ kind: 'n:m', keep: 3, of: 16, rows: 8 }, formatByName('q4_0'), 10, 33)).toEqual({
    ...{ keep: 3, of: 16, band: 8, bands: 2, groups: 3, slots: 32, bits: 4, words: 4 },
  });
});

test('what can not be packed', () => {
  const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };
  const f32 = formatByName('f32');
  expect(() => sparseLayout({ ...pattern, rows: 3 }, f32, 8, 8)).toThrow('1, 4, 8, 16 rows can');
  expect(() => sparseLayout({ ...pattern, keep: 4 }, f32, 8, 8)).toThrow('keep 1 to 3');
  expect(() => sparseLayout(pattern, formatByName('w8a8'), 8, 8)).toThrow('values in w8a8');
  expect(() => sparseLayout(pattern, formatByName('nf4'), 8, 8)).toThrow('values in nf4');
  const view = bench.room(128);
  const packed = { format: f32, values: [view], columns: view, pattern, rows: 8, k: 8 };
  const step = (given: object) => () => packSparseStep({ ...packed, source: f32, from: view, mask: view, ...given });
  expect(step({})).not.toThrow();
  expect(step({ format: formatByName('q8_0') })).toThrow('quantize those in f32');
  expect(step({ source: formatByName('q8_0') })).toThrow('only dense weights');
  expect(step({ from: { buffer: view.buffer, size: 60 } })).toThrow('"from" needs 256 bytes');
  expect(step({ rows: 0 })).toThrow('rows is 0');
  bench.release();
});
