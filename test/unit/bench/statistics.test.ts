import { expect, test } from 'vitest';
import { benjaminiHochberg, mannWhitney, pairedRatio, unpairedRatio } from '../../../bench/suite/statistics.ts';

/** p by definition: in how many of all ways to deal the values out is U as far from the middle. */
function byCounting(a: readonly number[], b: readonly number[]): number {
  const all = [...a, ...b];
  const u = (first: readonly number[], second: readonly number[]) =>
    first.reduce((sum, x) => sum + second.filter((y) => x > y).length, 0);
  const middle = (a.length * b.length) / 2;
  const found = Math.abs(u(a, b) - middle);
  let [as, total] = [0, 0];
  for (let mask = 0; mask < 2 ** all.length; mask++) {
    const first = all.filter((_, i) => (mask >> i) & 1);
    if (first.length !== a.length) continue;
    const second = all.filter((_, i) => !((mask >> i) & 1));
    total++;
    if (Math.abs(u(first, second) - middle) >= found) as++;
  }
  return as / total;
}

test.each([
  [
    [1, 2, 3],
    [4, 5, 6, 7],
  ],
  [
    [1, 5, 3, 8],
    [4, 2, 6, 7, 9],
  ],
  [
    [10, 11, 12, 13, 14, 15],
    [1, 2, 3, 4, 5, 6],
  ],
  [[3], [1, 2, 4]],
])('the exact p of %j against %j is that of counting', (a, b) => {
  expect(mannWhitney(a, b)).toBeCloseTo(byCounting(a, b), 12);
  expect(mannWhitney(b, a)).toBeCloseTo(byCounting(a, b), 12);
});

test('with ties the normal approximation is that of the textbook', () => {
  // U of a = 0 + .5 + .5 + 1.5 + 2 = 4.5, of b 20.5.
  // Ties: three 2, two 3: Σ(t³ − t) = 24 + 6. Variance = 25/12 · (11 − 30/90) = 22.2222, z = (12.5 − 4.5 − .5)/4.71405 = 1.59099.
  expect(mannWhitney([1, 2, 2, 3, 4], [2, 3, 5, 6, 7])).toBeCloseTo(0.11161, 4);
  expect(mannWhitney([1, 1, 1], [1, 1, 1])).toBe(1);
  expect(mannWhitney([], [1])).toBe(1);
});

test('the exact distribution and the approximation meet', () => {
  const a = Array.from({ length: 30 }, (_, i) => 2 * i);
  const b = Array.from({ length: 30 }, (_, i) => 2 * i + 15);
  const exact = mannWhitney(a, b);
  // A tie makes it approximate.
  const approximate = mannWhitney([...a.slice(1), 1], [...b.slice(1), 1]);
  expect(exact).toBeGreaterThan(0);
  expect(Math.abs(Math.log(exact / approximate))).toBeLessThan(0.7);
});

test('adjusted p values are those of Benjamini and Hochberg', () => {
  // 4 values: .01·4/1 = .04, .02·4/2 = .04, .03·4/3 = .04, .5·4/4.
  expect(benjaminiHochberg([0.03, 0.01, 0.5, 0.02])).toEqual([0.04, 0.04, 0.5, 0.04]);
  expect(benjaminiHochberg([0.001, 0.9])).toEqual([0.002, 0.9]);
  expect(benjaminiHochberg([])).toEqual([]);
});

test('pairs are compared with each other, others are drawn by themselves', () => {
  // The median of 2, 3 and 1; of medians it would be 4/3.
  expect(pairedRatio([2, 9, 4], [1, 3, 4]).ratio).toBe(2);
  const b = [1, 2, 4, 8, 16, 32, 64];
  const a = b.map((x) => 3 * x);
  expect(pairedRatio(a, b)).toEqual({ ratio: 3, interval: [3, 3] });
  const { ratio, interval } = unpairedRatio(a, b);
  expect(ratio).toBe(3);
  expect(interval![0]).toBeLessThan(1.5);
  expect(interval![1]).toBeGreaterThan(6);
  expect(pairedRatio([1, 2], [1, 2]).interval).toBeNull();
});
