import { expect, test } from 'vitest';
import { barred, DensityCount, shaded } from '../../../src/passes/pruning/density.ts';

test('cells of a matrix say how many of their weights are not zero, whatever rows come together', () => {
  const [rows, k] = [32, 64];
  // The upper left quarter is full, the lower right one half full, the others are empty.
  const values = Float32Array.from({ length: rows * k }, (_, at) => {
    const [row, column] = [Math.floor(at / k), at % k];
    if (row < 16 && column < 32) return 1;
    return row >= 16 && column >= 32 && column % 2 === 0 ? -1 : 0;
  });
  const whole = new DensityCount(rows, k);
  whole.add(0, values);
  const parts = new DensityCount(rows, k);
  for (const [start, end] of [
    [0, 5],
    [5, 20],
    [20, 32],
  ] as const) {
    parts.add(start, values.subarray(start * k, end * k));
  }
  expect(parts.result).toEqual(whole.result);
  const { zeros, map } = whole.result;
  expect(zeros).toBe(1 - (0.25 + 0.125));
  expect(map).toHaveLength(16);
  expect(map[0]).toBe(`${'f'.repeat(16)}${'0'.repeat(16)}`);
  expect(map[15]).toBe(`${'0'.repeat(16)}${'8'.repeat(16)}`);
  expect(shaded(['07bf'])).toEqual([' ▒▓█']);
  // Half of all in the left columns are 1, a quarter of all in the right ones: there every other column.
  expect(whole.result.channels).toBe(`${'f'.repeat(16)}${'0'.repeat(16)}`);
  expect(whole.result.least).toBeCloseTo(Math.SQRT1_2, 3);
  const { columns } = whole.result;
  expect(columns).toHaveLength(33);
  expect([columns[0], columns[23], columns[25], columns[32]]).toEqual([1, 1, 0, 0]);
  expect(barred('07bf')).toBe(' ▄▆█');
});

test('a small matrix has a cell for each weight', () => {
  const count = new DensityCount(2, 3);
  count.add(0, Float32Array.of(1, 0, -0, 0, 2, 3));
  // Columns of 1, 2 and 3.
  expect(count.result).toEqual({
    ...{ zeros: 0.5, map: ['f00', '0ff'], channels: '08f' },
    ...{ least: 0.333, columns: [1, 0.667, 0.333] },
  });
});

test('a matrix of zeros, or whose columns are all alike, has a picture, too', () => {
  const count = new DensityCount(1, 2);
  count.add(0, Float32Array.of(0, 0));
  expect(count.result).toEqual({ zeros: 1, map: ['00'], channels: 'ff', least: 1, columns: [0, 0] });
  const one = new DensityCount(2, 1);
  one.add(0, Float32Array.of(3, 4));
  expect(one.result).toEqual({ zeros: 0, map: ['f', 'f'], channels: 'f', least: 1, columns: [1] });
});
