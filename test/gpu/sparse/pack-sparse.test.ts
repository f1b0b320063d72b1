import { expect, test } from 'vitest';
import { type SparsePattern, sparseLayout } from '../../../src/formats/packed-layout.ts';
import { packSparse, unpackSparse } from '../../../src/formats/packed-reference.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { maskWords } from '../../../src/kernels/mask-pattern.ts';
import { packLargestSteps } from '../../../src/kernels/pack-largest.ts';
import { packSparseStep, unpackSparseStep } from '../../../src/kernels/pack-sparse.ts';
import { selectMasks } from '../../../src/kernels/reference/select-mask.ts';
import { maskRoom } from '../../../src/kernels/select-mask.ts';
import { SHAPES } from '../formats-under-test.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';
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

test.each([
  ['f32', 'f32', 'f32'],
  ['f16', 'f16', 'f16'],
  ['bf16', 'f32', 'q8_0'],
])('the 200 shapes: the largest of %s, packed with values in %s for %s', async (from, to, then) => {
  const [source, format, becomes] = [formatByName(from), formatByName(to), formatByName(then)];
  const next = generator(from.length + 11 * to.length);
  for (let shape = 0; shape < SHAPES; shape++) {
    // 2:4 in one pass, others by a mask.
    const pattern: SparsePattern = shape % 4 < 3 ? { kind: 'n:m', keep: 2, of: 4 } : anyPattern(next);
    const { weights, rows, k } = anyMasked(next, pattern, 80);
    // Ties.
    if (shape % 3 === 0) for (const i of weights.keys()) weights[i] = Math.round(2 * Math.sin(7 * i));
    const factors = shape % 5 < 2 ? filled(k, () => Math.abs(gaussian(next))) : undefined;
    const layout = sparseLayout(pattern, becomes, rows, k);
    const stored = source.reference.quantize(weights, rows, k).data!;
    const dense = source.reference.dequantize({ data: stored }, rows, k);
    const [mask] = selectMasks([{ weights: dense, rows, k, ...(factors && { factors }) }], pattern);
    const wanted = packSparse(dense, mask!, rows, k, layout);
    const wantedValues = format.reference.quantize(wanted.values, rows, layout.slots).data!;
    const room = Object.entries(maskRoom(pattern, rows, k)).map(([name, bytes]) => [name, bench.room(bytes / 4)]);
    const packed = {
      ...{ format, becomes, pattern, rows, k, source, from: upload(stored), room: Object.fromEntries(room) },
      ...{ bad: bench.upload(Uint32Array.of(0)), mask: bench.room(maskWords(rows, k)) },
      values: [bench.room(wantedValues.length / 4)],
      columns: bench.room(layout.bands * layout.words),
    };
    await bench.gpu.scheduler.run(packLargestSteps({ ...packed, ...(factors && { factors: bench.upload(factors) }) }));
    const what = `${JSON.stringify(pattern)}, ${rows}x${k}`;
    const got = await bench.words(packed.values[0]!, wantedValues.length / 4);
    expect(got, what).toEqual(new Uint32Array(wantedValues.buffer));
    expect(await bench.words(packed.columns, layout.bands * layout.words), what).toEqual(wanted.columns);
    expect(await bench.words(packed.bad, 1), what).toEqual(Uint32Array.of(0));
    bench.release();
  }
});

test('a weight that is no number is reported where it is', async () => {
  const f32 = formatByName('f32');
  const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };
  const [rows, k] = [3, 100];
  const weights = filled(rows * k, (i) => i);
  weights[250] = Number.NaN;
  weights[270] = Number.POSITIVE_INFINITY;
  const { slots, words } = sparseLayout(pattern, f32, rows, k);
  const bad = bench.upload(Uint32Array.of(0));
  const to = { values: [bench.room(rows * slots)], columns: bench.room(rows * words) };
  const from = { source: f32, from: bench.upload(weights), format: f32, pattern, rows, k, bad };
  await bench.gpu.scheduler.run(packLargestSteps({ ...from, ...to }));
  expect(~(await bench.words(bad, 1))[0]!).toBe(250);
  expect(() => packLargestSteps({ ...from, ...to, pattern: { ...pattern, keep: 1 } })).toThrow(
    'give "mask" of 48 bytes',
  );
  bench.release();
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
