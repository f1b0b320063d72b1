import { expect, test } from 'vitest';
import { compareRuns, comparisonText, gotSlower } from '../../../bench/suite/compare.ts';
import { FULL, QUICK } from '../../../bench/suite/method.ts';
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

test('p values are adjusted over ours of the suite, and over all others of it', () => {
  const one = (middle: number) => sampleCase({ suite: 'linear', name: 'x' }, { ours: samplesAround(middle, 0.2) });
  const others = (suite: string, contestant: string) => {
    const same = sampleCase({ suite, name: 'same' }, { [contestant]: samplesAround(1) });
    return Array.from({ length: 60 }, (_, i) => ({ ...same, name: `same ${i}` }));
  };
  const pAmong = (cases: ReturnType<typeof others>) =>
    compareRuns(sampleBench([one(1), ...cases]), sampleBench([one(1.12), ...cases])).changes.find(
      ({ name }) => name === 'x',
    )!.p;
  const alone = pAmong([]);
  expect(pAmong(others('linear', 'ours'))).toBeCloseTo(Math.min(1, alone * 61), 6);
  expect(pAmong([...others('model', 'ours'), ...others('linear', 'dense f32')])).toBe(alone);
});

test('one product that got slower is seen among 350 in full runs, and one among a quick run', () => {
  for (const [rounds, cases] of [
    [FULL.leastRounds, 350],
    [QUICK.leastRounds, 13],
  ] as const) {
    const product = (ours: number) =>
      sampleCase(
        { suite: 'linear', name: 'x' },
        { ours: samplesAround(ours, 0.02, rounds), 'dense f32': samplesAround(1, 0.02, rounds) },
      );
    const same = product(1);
    const others = Array.from({ length: cases - 1 }, (_, i) => ({ ...same, name: `${i}` }));
    const runOf = (first: number) => sampleBench([product(first), ...others]);
    const comparison = compareRuns(runOf(1), runOf(1.1));
    expect(comparison.changes.filter(({ verdict }) => verdict !== 'same')).toMatchObject([
      { name: 'x', contestant: 'ours', verdict: 'slower' },
    ]);
    expect(gotSlower(comparison)).toBe(true);
  }
});

test('what is not ours may get slower', () => {
  const runOf = (seconds: number) =>
    sampleBench([
      sampleCase(
        { suite: 'linear', name: 'x' },
        { ours: samplesAround(1), 'dense f32': samplesAround(seconds), 'a peer': samplesAround(seconds) },
      ),
      sampleCase({ suite: 'roofline', name: 'triad 2' }, { 'the device': samplesAround(seconds) }),
    ]);
  const comparison = compareRuns(runOf(1), runOf(2));
  expect(comparison.changes.filter(({ verdict }) => verdict === 'slower').map(({ contestant }) => contestant)).toEqual([
    'dense f32',
    'a peer',
    'the device',
  ]);
  expect(gotSlower(comparison)).toBe(false);
});

test('changes of cases whose clock moved say so', () => {
  const unsteady = (bench: ReturnType<typeof run>) => ({
    ...bench,
    cases: bench.cases.map((one) => ({ ...one, anchor: { ...one.anchor, steady: false } })),
  });
  const text = comparisonText(compareRuns(run({ a: 1 }), unsteady(run({ a: 2 }))));
  expect(text).toMatch(/^slower: linear a, ours: .*\(the clock moved over this case\)$/m);
  expect(comparisonText(compareRuns(run({ a: 1 }), run({ a: 2 })))).not.toContain('clock');
});

test('everything that was not the same is a warning', () => {
  const before = run({ a: 1 });
  const now = {
    ...before,
    environment: 'Node 22.0.0',
    dawn: null,
    cycledBytes: 2 ** 30,
    device: { ...before.device, name: 'another', driver: 'a driver 1.3' },
  };
  expect(compareRuns(before, now).warnings).toEqual([
    'The devices are not the same: a device <fast> before, another now.',
    'The drivers are not the same: a driver 1.2 before, a driver 1.3 now.',
    'The environments are not the same: Node 20.0.0 before, Node 22.0.0 now.',
    'The versions of Dawn are not the same: 0.6.2 before, not known now.',
    'The bytes that weights cycle through are not the same: 67108864 before, 1073741824 now.',
  ]);
});

test('the text names what changed, and what is in one run only', () => {
  const before = run({ a: 1, gone: 1 });
  const now = run({ a: 2, new: 1 });
  const comparison = compareRuns(before, { ...now, device: { ...now.device, name: 'another' } });
  expect(comparison.unpaired).toEqual({ before: ['linear gone, ours'], now: ['linear new, ours'] });
  expect(comparisonText(comparison)).toMatch(
    /^The devices are not the same: a device <fast> before, another now\.\nslower: linear a, ours: \+100\.0% time, 95%: .*\n3 of 4 figures are the same\.\n2 figures are in one run only\.$/,
  );
});
