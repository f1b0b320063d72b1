import { expect, test } from 'vitest';
import { FoundPattern } from '../../../src/passes/pruning/found-pattern.ts';
import { randomSource } from '../../gpu/random.ts';

/** Weights that are not zero where `keeps` says so. */
function found(rows: number, k: number, keeps: (row: number, column: number) => boolean): string | undefined {
  const weights = Float32Array.from({ length: rows * k }, (_, at) => (keeps(Math.floor(at / k), at % k) ? at + 1 : 0));
  const pattern = new FoundPattern(k);
  pattern.add(weights.subarray(0, 3 * k));
  pattern.add(weights.subarray(3 * k));
  return pattern.find(weights.filter((w) => w === 0).length / weights.length);
}

/** Other places in every group, of rows that may end within one. */
function placed(keep: number, of: number): (row: number, column: number) => boolean {
  const random = randomSource(keep * 31 + of);
  const order = new Map<string, number[]>();
  return (row, column) => {
    const group = `${row} ${Math.floor(column / of)}`;
    const places = order.get(group) ?? Array.from({ length: of }, (_, i) => i).sort(() => random() - 0.5);
    order.set(group, places);
    return places.indexOf(column % of) < keep;
  };
}

test.each([
  [1, 2],
  [2, 4],
  [4, 8],
  [3, 5],
  [1, 4],
  [5, 16],
])('%i:%i', (keep, of) => {
  expect(found(40, 130, placed(keep, of))).toBe(`${keep}:${of}`);
});

test('zeros anywhere, none, all and too few weights to tell have no pattern', () => {
  const random = randomSource(5);
  expect(found(64, 64, () => random() < 0.5)).toBeUndefined();
  expect(found(64, 64, () => random() < 0.8)).toBeUndefined();
  expect(found(64, 64, () => true)).toBeUndefined();
  expect(found(64, 64, () => false)).toBeUndefined();
  expect(found(4, 8, (_, column) => column % 2 === 0)).toBeUndefined();
  // One group without a zero is enough.
  const keeps = placed(2, 4);
  expect(found(40, 128, (row, column) => keeps(row, column) || (row === 9 && column >> 2 === 5))).toBeUndefined();
});
