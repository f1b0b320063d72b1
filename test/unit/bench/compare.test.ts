import { expect, test } from 'vitest';
import { compareRuns, comparisonText } from '../../../bench/suite/compare.ts';
import { sampleBench, sampleCase, samplesAround } from './sample-bench.ts';

const run = (middles: Readonly<Record<string, number>>, spread = 0.02) =>
  sampleBench(
    Object.entries(middles).map(([name, middle]) =>
      sampleCase({ suite: 'linear', name }, { ours: samplesAround(middle, spread) }),
    ),
  );

test('what is slower and faster is told apart from what is the same', () => {
  const { changes, warnings } = compareRuns(run({ a: 1, b: 2, c: 3, d: 4 }), run({ a: 1.001, b: 3, c: 1.5, d: 4.1 }));
  const verdicts = Object.fromEntries(
    changes.filter(({ suite }) => suite === 'linear').map(({ name, verdict }) => [name, verdict]),
  );
  // The last moved for sure, but by less than a twentieth.
  expect(verdicts).toEqual({ a: 'same', b: 'slower', c: 'faster', d: 'same' });
  const slower = changes.find(({ name }) => name === 'b')!;
  expect(slower.ratio).toBeCloseTo(1.5);
  expect(slower.interval![0]).toBeGreaterThan(1.4);
  expect(slower.interval![1]).toBeLessThan(1.6);
  expect(warnings).toEqual([]);
});

test('a change inside the noise is no change', () => {
  const { changes } = compareRuns(run({ a: 1 }, 0.8), run({ a: 1.15 }, 0.8));
  expect(changes.map(({ verdict }) => verdict)).toEqual(changes.map(() => 'same'));
});

test('p values are adjusted over all figures', () => {
  const one = (middle: number) => sampleCase({ suite: 'linear', name: 'x' }, { ours: samplesAround(middle, 0.2) });
  const others = Array.from({ length: 60 }, (_, i) =>
    sampleCase({ suite: 'linear', name: `same ${i}` }, { ours: samplesAround(1) }),
  );
  const alone = compareRuns(sampleBench([one(1)]), sampleBench([one(1.12)]));
  const among = compareRuns(sampleBench([one(1), ...others]), sampleBench([one(1.12), ...others]));
  const p = ({ changes }: typeof alone) => changes.find(({ name }) => name === 'x')!.p;
  expect(p(among)).toBeCloseTo(Math.min(1, (p(alone) / 4) * 64), 6);
});

test('the text names what changed, and what is in one run only', () => {
  const before = run({ a: 1, gone: 1 });
  const now = run({ a: 2, new: 1 });
  const comparison = compareRuns(before, { ...now, device: { ...now.device, description: 'another' } });
  expect(comparison.unpaired).toEqual({ before: ['linear gone, ours'], now: ['linear new, ours'] });
  expect(comparisonText(comparison)).toMatch(
    /^The devices are not the same: "a device <fast>" before, "another" now\.\nslower: linear a, ours: \+100\.0% time, 95%: .*\n3 of 4 figures are the same\.\n2 figures are in one run only\.$/,
  );
});
