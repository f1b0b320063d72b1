import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { uploadWeight } from '../../../src/kernels/weight.ts';
import { singularValues } from '../../../src/passes/lowrank/reference/singular-values.ts';
import { MOST_VALUES, pointsOf, rankKeeping, spectrumOf } from '../../../src/passes/lowrank/spectrum.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

test('points of a spectrum are the singular values and what they keep', async () => {
  const next = generator(4);
  const [rows, columns] = [70, 50];
  const values = filled(rows * columns, (i) => gaussian(next) / (1 + (i % columns)));
  const weight = uploadWeight(
    bench.gpu,
    formatByName('f32'),
    ...([rows, columns, { data: new Uint8Array(values.buffer) }, 'matrix'] as const),
  );
  const points = pointsOf(await spectrumOf(bench.gpu, weight, 'matrix'));
  weight.release();
  const exact = singularValues(values, rows, columns);
  const energy = (count: number) => exact.slice(0, count).reduce((sum, value) => sum + value ** 2, 0);
  expect(points[0]!.rank).toBe(1);
  expect(points.at(-1)!.rank).toBe(columns);
  for (const { rank, value, kept } of points) {
    expect(Math.abs(value - exact[rank - 1]! / exact[0]!)).toBeLessThanOrEqual(1e-5);
    expect(Math.abs(kept - energy(rank) / energy(columns))).toBeLessThanOrEqual(1e-5);
  }
  const ranks = points.map(({ rank }) => rank);
  expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
  const least = rankKeeping(points, 0.9)!;
  expect(energy(least)).toBeGreaterThanOrEqual((0.9 - 1e-5) * energy(columns));
});

test('of many singular values the largest are looked at, and the rest counts', () => {
  const values = new Float32Array(MOST_VALUES).fill(2);
  const points = pointsOf({ values, total: 8 * MOST_VALUES });
  expect(points.at(-1)).toEqual({ rank: MOST_VALUES, value: 1, kept: 0.5 });
  expect(points.length).toBeLessThan(60);
  expect(rankKeeping(points, 0.9)).toBeUndefined();
  expect(pointsOf({ values: new Float32Array(3), total: 0 })[0]).toEqual({ rank: 1, value: 0, kept: 1 });
});
