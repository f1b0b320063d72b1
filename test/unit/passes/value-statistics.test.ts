import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { sparkline, valueStatistics } from '../../../src/passes/value-statistics.ts';

const chunked = (...chunks: number[][]) =>
  async function* () {
    for (const chunk of chunks) yield Float32Array.from(chunk);
  };

test('statistics go over all chunks and leave out what is not finite', async () => {
  const statistics = await valueStatistics(chunked([1, 2, Number.NaN], [3, 4, Number.POSITIVE_INFINITY]), 3);
  expect(statistics).toEqual({
    count: 6,
    nonFinite: 2,
    min: 1,
    max: 4,
    mean: 2.5,
    std: Math.sqrt(1.25),
    histogram: [1, 1, 2],
  });
});

test('constant, empty and wholly bad tensors have statistics too', async () => {
  expect(await valueStatistics(chunked([7, 7]), 2)).toMatchObject({ min: 7, max: 7, std: 0, histogram: [2, 0] });
  expect(await valueStatistics(chunked(), 2)).toMatchObject({ count: 0, min: 0, histogram: [0, 0] });
  expect(await valueStatistics(chunked([Number.NaN]), 2)).toMatchObject({ count: 1, nonFinite: 1, mean: 0 });
  await expect(valueStatistics(chunked([1]), 0)).rejects.toThrow(ArgumentError);
});

test('a sparkline shows every bin that holds something', () => {
  expect(sparkline([0, 1, 500, 1000])).toBe(' ▁▄█');
});
