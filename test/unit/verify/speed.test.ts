import { expect, test } from 'vitest';
import { intervalText } from '../../../src/verify/figures.ts';
import { rate } from '../../../src/verify/speed.ts';

/** The compressed model is slower by medians, and faster in most rounds. */
const NOISY = {
  f32: [9, 9, 9, 9, 9, 9, 9],
  f16: [1, 1, 1, 4, 6, 7, 8],
  compressed: [5, 5, 5, 3, 5, 6, 7],
};

test('the ratio is that of the rates that stand beside it', () => {
  const { f32, f16, compressed, ratio, interval } = rate(NOISY, 8);
  expect([f32, f16, compressed]).toEqual([8 / 9, 2, 8 / 5]);
  expect(ratio).toBeCloseTo(compressed / Math.max(f32, f16!), 12);
  const [low, high] = interval!;
  expect(low).toBeLessThanOrEqual(ratio);
  expect(high).toBeGreaterThanOrEqual(ratio);
});

test('the baseline is the faster of f32 and f16', () => {
  const { ratio } = rate({ f32: NOISY.f16, f16: NOISY.f32, compressed: NOISY.compressed }, 8);
  expect(ratio).toBe(rate(NOISY, 8).ratio);
  expect(rate({ f32: [2], f16: [], compressed: [1] }, 8)).toEqual({
    f32: 4,
    f16: null,
    compressed: 8,
    ratio: 2,
    interval: null,
  });
});

test('rounds are drawn together, so that what slows both down is not noise', () => {
  const compressed = [1, 2, 4, 8, 16, 32, 64];
  const dense = compressed.map((seconds) => 2 * seconds);
  expect(rate({ f32: dense, f16: [], compressed }, 8).interval).toEqual([2, 2]);
});

test.each<[[number, number], string]>([
  [[0.39, 2.52], '95%: 0.39 to 2.52, no clear difference'],
  [[1, 2], '95%: 1.00 to 2.00, no clear difference'],
  [[1.01, 2], '95%: 1.01 to 2.00'],
  [[0.5, 0.9], '95%: 0.50 to 0.90'],
])('an interval of %j is "%s"', (interval, text) => {
  expect(intervalText(interval)).toBe(text);
});
