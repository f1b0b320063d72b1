import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { scoreCountsStep } from '../../../src/kernels/score-counts.ts';
import { SHAPES } from '../formats-under-test.ts';
import { filled, gaussian, generator, openBench, size } from '../layers/bench.ts';

const bench = openBench();
const f32 = formatByName('f32');

test('the 200 shapes: sums of scores, and how many are above a threshold', async () => {
  const next = generator(21);
  for (let shape = 0; shape < SHAPES; shape++) {
    const [rows, k] = [size(next, 60), size(next, 150)];
    const weights = filled(rows * k, () => (next() < 0.1 ? 0 : gaussian(next)));
    const factors = shape % 2 ? filled(k, () => Math.abs(gaussian(next))) : undefined;
    const scores = weights.map((w, i) => Math.fround(Math.abs(w) * (factors?.[i % k] ?? 1)));
    // One of the scores, which is not above itself, and what every score is above.
    const threshold = shape % 3 ? scores[Math.floor(next() * scores.length)]! : 0;
    const [sums, counts] = [bench.room(rows), bench.room(rows)];
    const bad = bench.upload(Uint32Array.of(0));
    await bench.gpu.scheduler.run([
      scoreCountsStep({
        ...{ source: f32, from: bench.upload(weights), rows, k, bad, threshold, sums, counts },
        ...(factors && { factors: bench.upload(factors) }),
      }),
    ]);
    const [gotSums, gotCounts] = [await bench.floats(sums, rows), await bench.words(counts, rows)];
    for (let row = 0; row < rows; row++) {
      const mine = scores.subarray(row * k, (row + 1) * k);
      const sum = mine.reduce((total, score) => total + score, 0);
      // As many roundings as terms, all of one sign.
      expect(Math.abs(gotSums[row]! - sum)).toBeLessThanOrEqual(sum * (k + 2) * 2 ** -24);
      expect(gotCounts[row], `row ${row} of ${rows}x${k}`).toBe(mine.filter((score) => score > threshold).length);
    }
    bench.release();
  }
});

test('a threshold that is none is refused', () => {
  const view = bench.room(64);
  const step = (threshold: number) => () =>
    scoreCountsStep({ source: f32, from: view, rows: 4, k: 4, bad: view, sums: view, counts: view, threshold });
  expect(step(Number.POSITIVE_INFINITY)).not.toThrow();
  expect(step(Number.NaN)).toThrow('the threshold is NaN');
  bench.release();
});
