import { expect, test } from 'vitest';
import type { Contestant, Work } from '../../../bench/suite/contestant.ts';
import { runCase } from '../../../bench/suite/run-case.ts';
import type { Case, SuiteContext } from '../../../bench/suite/suite.ts';
import { CancelledError } from '../../../src/errors.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';

/** Contestants of a device that only has a clock. */
function stage() {
  let time = 0;
  const released: string[] = [];
  const contestant = (name: string, milliseconds: number, output?: number): Contestant => ({
    name,
    note: `${name}'s note`,
    prepare: async () => ({
      run: async () => void (time += milliseconds),
      ...(output !== undefined && { check: async () => Float32Array.of(output) }),
      release: () => void released.push(name),
    }),
  });
  const one = (contestants: readonly Contestant[]): Case => ({
    ...{ suite: 'linear', name: 'a case', dimensions: { n: 1 }, bytes: 50, baseline: 'dense' },
    open: async () => ({
      work: { kind: 'own', count: 2 },
      contestants,
      reference: { error: ([value]) => Math.abs(value! - 1), tolerance: 0.25 },
      release: () => void released.push('case'),
    }),
  });
  const gpu = { throwIfLost: () => {}, memory: { trim: () => {} } } as unknown as Gpu;
  const context = (given: Partial<SuiteContext> = {}): SuiteContext => ({
    ...{ gpu, quick: true, peers: [], cycledBytes: 1 },
    openModel: () => Promise.reject(new Error('no model')),
    roofline: { bytesPerSecond: 10_000, operationsPerSecond: { f32: 1, f16: null, i8: null } },
    ...given,
  });
  const method = {
    ...{ now: () => time, anchor: async () => 1, rounds: 7, leastRounds: 7, seconds: 100 },
    ...{ sampleMilliseconds: 1, mostDrift: 0.1, repeats: 0 },
  };
  return { contestant, one, context, method, released };
}

test('figures are of one product, and the speed-up is over the baseline', async () => {
  const { contestant, one, context, method, released } = stage();
  const { result, failures } = await runCase(
    one([contestant('ours', 20, 1.125), contestant('dense', 60, 1)]),
    context({ peers: [contestant('peer', 30)] }),
    method,
  );
  expect(failures).toEqual([]);
  expect(result!.baseline).toBe('dense');
  expect(result!.contestants).toMatchObject([
    // 50 bytes at 10,000 a second take 5 ms of 10.
    {
      name: 'ours',
      seconds: 0.01,
      speedUp: { ratio: 3, interval: [3, 3] },
      error: 0.125,
      ofRoofline: { fraction: 0.5 },
    },
    { name: 'dense', seconds: 0.03, speedUp: null, error: 0 },
    { name: 'peer', seconds: 0.015, speedUp: { ratio: 2 }, error: null },
  ]);
  expect(result!.contestants[0]!.samples).toHaveLength(7);
  expect(released).toEqual(['ours', 'dense', 'peer', 'case']);
});

test('ours beside a peer: the median of the ratios of rounds, and their interval; a peer may say what is true of this work only', async () => {
  const { contestant, one, context, method } = stage();
  // Both slow down together from run to run, so that their times spread and their ratios do not.
  let runs = 0;
  const slowing = (name: string, milliseconds: number): Contestant => ({
    ...contestant(name, 0),
    prepare: async (work) => {
      const prepared = (await contestant(name, 0).prepare(work))!;
      const step = contestant('clock', milliseconds);
      const clock = (await step.prepare(work))!;
      return {
        ...prepared,
        note: `${name}, of this work`,
        run: async () => {
          const times = 1 + (runs++ >> 1);
          for (let i = 0; i < times; i++) await clock.run();
        },
      };
    },
  });
  const ours = slowing('ours', 10);
  const { result } = await runCase(one([ours]), context({ peers: [slowing('peer', 25)] }), { ...method, rounds: 8 });
  expect(result!.contestants.map(({ note }) => note)).toEqual(['ours, of this work', 'peer, of this work']);
  expect(result!.overPeers).toEqual([{ peer: 'peer', ratio: 2.5, interval: [2.5, 2.5] }]);

  const few = await runCase(one([ours]), context({ peers: [slowing('peer', 25)] }), { ...method, rounds: 5 });
  expect(few.result!.overPeers).toMatchObject([{ interval: null }]);
  // Without ours there is nothing to compare.
  const wrong = await runCase(one([contestant('ours', 1, 3)]), context({ peers: [slowing('peer', 25)] }), method);
  expect(wrong.result!.overPeers).toEqual([]);
});

test('who computes wrongly, or NaN, or fails, is not timed and spoils nobody else', async () => {
  const { contestant, one, context, method, released } = stage();
  const broken: Contestant = { name: 'broken', note: '', prepare: () => Promise.reject(new Error('no such operator')) };
  const absent: Contestant = { name: 'absent', note: '', prepare: async () => undefined };
  const contestants = [
    contestant('wrong', 1, 2),
    contestant('NaN', 1, Number.NaN),
    broken,
    absent,
    contestant('ours', 8, 1),
  ];
  const { result, failures } = await runCase(one(contestants), context(), method);
  expect(result!.contestants.map(({ name }) => name)).toEqual(['ours']);
  expect(result!.baseline).toBe('ours');
  expect(failures.map(({ contestant: who, message }) => [who, message.replace(/\..*/, '')])).toEqual([
    ['wrong', 'wrong: the relative error is 1; at most 0'],
    ['NaN', 'wrong: the relative error is NaN; at most 0'],
    ['broken', 'no such operator'],
  ]);
  expect(released).toEqual(['wrong', 'NaN', 'ours', 'case']);
});

test('a case that cannot be made is a failure; a cancelled one ends the run', async () => {
  const { contestant, one, context, method, released } = stage();
  const cause = new Error('out of room');
  const impossible: Case = { ...one([]), open: () => Promise.reject(cause) };
  expect(await runCase(impossible, context(), method)).toEqual({
    failures: [{ suite: 'linear', name: 'a case', contestant: null, message: 'out of room' }],
    cause,
  });
  const signal = AbortSignal.abort();
  const cancelled = runCase(one([contestant('ours', 1, 1)]), context({ signal }), method);
  await expect(cancelled).rejects.toThrow(CancelledError);
  expect(released).toEqual(['case']);
});

test('what cannot be released fails, and nothing else does', async () => {
  const { contestant, one, context, method, released } = stage();
  const clinging = (name: string, output: number): Contestant => ({
    ...contestant(name, 8, output),
    prepare: async (work) => ({
      ...(await contestant(name, 8, output).prepare(work))!,
      release: () => Promise.reject(new Error(`${name} clings`)),
    }),
  });
  const wanted = one([clinging('wrong', 2), clinging('ours', 1), contestant('dense', 8, 1)]);
  const { result, failures } = await runCase(wanted, context(), method);
  expect(result!.contestants.map(({ name }) => name)).toEqual(['ours', 'dense']);
  expect(failures.map(({ contestant: who, message }) => [who, message.replace(/:.*/, '')])).toEqual([
    ['wrong', 'wrong clings'],
    ['wrong', 'wrong'],
    ['ours', 'ours clings'],
  ]);
  expect(released).toEqual(['dense', 'case']);
});

test('a contestant of other weights is held to a reference of its own', async () => {
  const { contestant, one, context, method } = stage();
  const other = (right: number): Contestant => ({
    ...contestant('dense', 8, 5),
    prepare: async (work) => ({
      ...(await contestant('dense', 8, 5).prepare(work))!,
      reference: { error: ([value]) => Math.abs(value! - right), tolerance: 0 },
    }),
  });
  const run = async (right: number) =>
    (await runCase(one([contestant('ours', 8, 1), other(right)]), context(), method)).failures;
  expect(await run(5)).toEqual([]);
  expect(await run(6)).toMatchObject([{ contestant: 'dense' }]);
});

test('contestants are prepared as often as the method says, and each preparation is released', async () => {
  const { contestant, one, context, method, released } = stage();
  const often = { ...method, preparations: 3 };
  const { result, failures } = await runCase(one([contestant('ours', 20), contestant('dense', 60)]), context(), often);
  expect(failures).toEqual([]);
  // A third of seven rounds, three times.
  expect(result!.contestants.map(({ samples }) => samples.length)).toEqual([9, 9]);
  expect(released).toEqual(['ours', 'dense', 'ours', 'dense', 'ours', 'dense', 'case']);
});

test.each([
  ['can not be prepared again', undefined, 'once'],
  ['is wrong when it is prepared again', 9, 'wrong'],
])('a peer that %s loses its own figure only', async (_, output, message) => {
  const { contestant, one, context, method, released } = stage();
  const peer = contestant('peer', 30, 1);
  let times = 0;
  const prepare = async (work: Work) => {
    if (times++ === 0) return peer.prepare(work);
    return output === undefined ? undefined : contestant('peer', 30, output).prepare(work);
  };
  const { result, failures } = await runCase(
    one([contestant('ours', 20), contestant('dense', 60)]),
    context({ peers: [{ ...peer, prepare }] }),
    { ...method, preparations: 2 },
  );
  expect(failures).toMatchObject([{ contestant: 'peer', message: expect.stringContaining(message) }]);
  expect(result!.contestants.map(({ name, samples }) => [name, samples.length])).toEqual([
    ['ours', 4],
    ['dense', 4],
  ]);
  expect(result!.contestants[0]!.speedUp!.ratio).toBe(3);
  expect(released.toSorted()).toEqual(
    ['case', 'dense', 'dense', 'ours', 'ours', 'peer', ...(output === undefined ? [] : ['peer'])].toSorted(),
  );
});
