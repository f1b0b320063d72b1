import { expect, test } from 'vitest';
import { packedFormat } from '../../../src/formats/packed.ts';
import { checkPackedRow, checkPacking, type SparsePattern, storesZero } from '../../../src/formats/packed-layout.ts';
import { formatByName, formats } from '../../../src/formats/registry.ts';

const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };

const packs = (name: string): boolean => {
  try {
    checkPacking(pattern, formatByName(name));
    return true;
  } catch {
    return false;
  }
};

test('a format that says so stores 0 as 0', () => {
  const names = formats.map(({ name }) => name).filter(packs);
  expect(names).toContain('q4_0');
  let without = 0;
  for (const name of names) {
    const format = formatByName(name);
    const k = 256;
    const weights = Float32Array.from({ length: k }, (_, i) => (i % 2 ? 0 : Math.sin(i + 1) + 0.3));
    const back = format.reference.dequantize(format.reference.quantize(weights, 1, k), 1, k);
    const zeros = back.filter((w, i) => i % 2 && w !== 0).length === 0;
    if (storesZero(format)) expect(zeros, name).toBe(true);
    else without++;
  }
  expect(without).toBeGreaterThan(0);
});

test('formats without a zero pack rows that fill their blocks, and no others', () => {
  const q4_1 = formatByName('q4_1');
  expect(() => checkPackedRow(pattern, q4_1, 128, 'w')).not.toThrow();
  expect(() => checkPackedRow(pattern, q4_1, 96, 'w')).toThrow('fill no whole blocks of 32');
  expect(() => checkPackedRow(pattern, formatByName('q4_0'), 96, 'w')).not.toThrow();
});

test('the reference keeps the largest of each group, of equal ones the first, over all rows of a band', () => {
  const f32 = formatByName('f32');
  const format = packedFormat(f32, pattern);
  expect(format.name).toBe('f32@2:4');
  expect(packedFormat(f32, pattern)).toBe(format);
  const row = [1, -3, 2, 3, 5, 5, 5, 5, 0, 0, 0, 7, -2];
  const kept = [0, -3, 0, 3, 5, 5, 0, 0, 0, 0, 0, 7, -2];
  const host = format.reference.quantize(Float32Array.from(row), 1, row.length);
  expect([...format.reference.dequantize(host, 1, row.length)]).toEqual(kept);
  const band = packedFormat(f32, { ...pattern, rows: 4 });
  const rows = Float32Array.from([1, 2, 0, 0, 9, 0, 0, 1, 0, 0, 3, 3, 0, 0, 0, 0]);
  const shared = band.reference.dequantize(band.reference.quantize(rows, 4, 4), 4, 4);
  expect([...shared]).toEqual([1, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0]);
});
