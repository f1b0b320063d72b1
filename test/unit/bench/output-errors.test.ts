import { expect, test } from 'vitest';
import { outputError } from '../../../bench/suite/linear-error.ts';

const [n, k, batch] = [8, 4, 1024];
const rows = Float32Array.from({ length: n * k }, (_, i) => (i % 7) - 3);
const x = Float32Array.from({ length: batch * k }, (_, i) => (i % 11) - 5);
const error = outputError(rows, x, { n, k, batch });

const product = () =>
  Float32Array.from({ length: batch * n }, (_, at) => {
    const [token, row] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let i = 0; i < k; i++) sum += rows[row * k + i]! * x[token * k + i]!;
    return sum;
  });

test('a product that is right is right', () => {
  expect(error(product())).toBe(0);
});

test.each([
  ['the first tokens', 0, 96],
  ['those in the middle', 300, 600],
  ['all but the first and the last', 96, 1023],
])('%s are looked at', (_, from, to) => {
  expect(error(product().map((value, at) => (at >= from * n && at < to * n ? value + 1 : value)))).toBeGreaterThan(
    0.01,
  );
});

test('one output that was not written shows, wherever it is', () => {
  for (const at of [1, 1000, 5003, batch * n - 2]) {
    expect(error(product().with(at, Number.NaN))).toBe(Number.POSITIVE_INFINITY);
  }
});
