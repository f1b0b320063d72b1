import * as v from 'valibot';
import { expect, test } from 'vitest';
import { figuresOf, leastSeconds } from '../../../bench/suite/figures.ts';
import { BenchSchema } from '../../../bench/suite/results-schema.ts';
import { rooflineOf } from '../../../bench/suite/suites/roofline.ts';
import { sampleBench } from './sample-bench.ts';

const ROOFLINE = { bytesPerSecond: 100, operationsPerSecond: { f32: 1000, f16: null, i8: 4000 } };

test('the least time is that of the slower of memory and arithmetic', () => {
  expect(leastSeconds({ bytes: 200, operations: 1000 }, ROOFLINE)).toEqual({ seconds: 2, bound: 'memory' });
  expect(leastSeconds({ bytes: 200, operations: 8000 }, ROOFLINE)).toEqual({ seconds: 8, bound: 'arithmetic' });
  expect(leastSeconds({ operations: 8000, arithmetic: 'i8' }, ROOFLINE)!.seconds).toBe(2);
  // A device without f16 computes in f32.
  expect(leastSeconds({ operations: 8000, arithmetic: 'f16' }, ROOFLINE)!.seconds).toBe(8);
  expect(leastSeconds({}, ROOFLINE)).toBeUndefined();
});

test('figures of samples', () => {
  const samples = [4, 4, 4, 4, 4, 4, 4];
  const figures = figuresOf(
    { items: { unit: 'weights', count: 12 } },
    { bytes: 200, operations: 40 },
    { name: 'ours', note: '', error: null, samples },
    samples.map((x) => 3 * x),
    ROOFLINE,
  );
  expect(figures).toMatchObject({
    seconds: 4,
    interval: [4, 4],
    speedUp: { ratio: 3, interval: [3, 3] },
    itemsPerSecond: 3,
    gigabytesPerSecond: 5e-8,
    gigaOperationsPerSecond: 1e-8,
    ofRoofline: { fraction: 0.5, bound: 'memory' },
  });
});

test('results are held to the schema', () => {
  const bench = sampleBench();
  expect(v.parse(BenchSchema, JSON.parse(JSON.stringify(bench)))).toEqual(bench);
  expect(v.safeParse(BenchSchema, { ...bench, version: 1 }).success).toBe(false);
  const [first] = bench.cases;
  const broken = { ...first!, contestants: [{ ...first!.contestants[0]!, samples: [0] }] };
  expect(v.safeParse(BenchSchema, { ...bench, cases: [broken] }).success).toBe(false);
});

test('the roofline takes the better of copy and triad, and needs memory and f32', () => {
  const { cases } = sampleBench();
  expect(rooflineOf(cases)).toEqual({ bytesPerSecond: 3e9, operationsPerSecond: { f32: 20e9, f16: null, i8: null } });
  expect(rooflineOf(cases.filter(({ name }) => name !== 'f32'))).toBeUndefined();
});
