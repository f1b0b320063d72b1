import { expect, test } from 'vitest';
import { figureText, percentsApart, percentText } from '../../../src/verify/figures.ts';
import { bootstrapInterval, perplexityOf } from '../../../src/verify/statistics.ts';

test.each([
  [0.0123, '1.23%'],
  [0.01, '1.00%'],
  [0.000001, '0.00010%'],
  [-0.0000034, '-0.00034%'],
  [0, '0.00%'],
])('%f is %s', (fraction, text) => {
  expect(percentText(fraction)).toBe(text);
});

test.each([
  [0.0105, 0.01, ['1.05%', '1.00%']],
  [0.010001, 0.01, ['1.0001%', '1.0000%']],
  [0, 0.000001, ['0.0000%', '0.0001%']],
  [0.02, 0.02, ['2.00%', '2.00%']],
])('%f and %f can be told apart', (a, b, texts) => {
  expect(percentsApart(a, b)).toEqual(texts);
});

test('a perplexity beyond all numbers stays one', () => {
  expect(perplexityOf(Math.log(35))).toBeCloseTo(35);
  expect(perplexityOf(5000)).toBeLessThan(Number.MAX_VALUE);
  expect(figureText(perplexityOf(5000), 4)).toBe('4.60e+299');
});

test('the interval of six values lies within them', () => {
  const [low, high] = bootstrapInterval([1, 2, 3, 4, 5, 6]);
  expect(low).toBeGreaterThanOrEqual(1);
  expect(low).toBeLessThan(3);
  expect(high).toBeGreaterThan(4);
  expect(high).toBeLessThanOrEqual(6);
});
