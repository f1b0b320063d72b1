import { expect, test } from 'vitest';
import { MAX_ROW, quantizeRow } from '../../../src/formats/w8a8.ts';
import { integerSums, quantizedActivations } from '../../../src/graph/reference/integer-linear.ts';

test('a row has the scale of its largest magnitude; halves go to even', () => {
  const codes = new Int8Array(6);
  expect(quantizeRow(Float32Array.of(254, -254, 1, 3, -5, 0.9), codes)).toBe(2);
  expect([...codes]).toEqual([127, -127, 0, 2, -2, 0]);
  expect(quantizeRow(new Float32Array(6), codes)).toBe(0);
  expect(quantizeRow(Float32Array.of(1, Number.NaN), new Int8Array(2))).toBeNaN();
  expect(quantizeRow(Float32Array.of(1, -2, 300, -300), codes.subarray(0, 4), 2)).toBe(2);
  expect([...codes.subarray(0, 4)]).toEqual([0, -1, 127, -127]);
});

test('sums of the longest rows fit i32', () => {
  expect(128 * 127 * MAX_ROW).toBeLessThan(2 ** 31);
  expect(128 * 127 * (MAX_ROW + 1)).toBeGreaterThanOrEqual(2 ** 31);
  expect([...integerSums(Int8Array.of(1, -2, 3, 4), Int8Array.of(5, 6), 2)]).toEqual([-7, 39]);
});

test('another run decides where it is a tie, and nowhere else', () => {
  // Steps of 1: 0.501 and 0.499 have different codes, though they hardly differ.
  const x = Float64Array.of(127, 0.501, 10.4, 20.499);
  const seen = Float32Array.of(127, 0.499, 10.6, 25);
  expect([...quantizedActivations(x, 4)]).toEqual([127, 1, 10, 20]);
  expect([...quantizedActivations(x, 4, {}, seen)]).toEqual([127, 0, 10, 20]);
  expect([...quantizedActivations(x, 4, {}, Float32Array.from(x))]).toEqual([127, 1, 10, 20]);
  // The reference goes on with its own scale.
  const other = Float32Array.of(127 * 1.0001, 0.501, 10.4, 20.499);
  expect([...quantizedActivations(x, 4, {}, other)]).toEqual([127, 1, 10, 20]);
});
