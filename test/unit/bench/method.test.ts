import { expect, test } from 'vitest';
import {
  driftOf,
  type MethodOptions,
  middleOfThree,
  timeInTurns,
  timePreparations,
} from '../../../bench/suite/method.ts';
import { randomSource } from '../../gpu/random.ts';

/** A clock that only work moves. */
function bench(settings: Partial<MethodOptions> = {}) {
  let time = 0;
  const order: string[] = [];
  const contestant = (name: string, milliseconds: () => number) => ({
    run: async () => {
      order.push(name);
      time += milliseconds();
    },
  });
  const options: MethodOptions = {
    now: () => time,
    anchor: async () => 1,
    rounds: 8,
    leastRounds: 6,
    seconds: 1000,
    sampleMilliseconds: 1,
    mostDrift: 0.1,
    repeats: 2,
    ...settings,
  };
  return { order, contestant, options };
}

test('contestants take turns, and who begins changes', async () => {
  const { order, contestant, options } = bench({ rounds: 3 });
  const timing = await timeInTurns([contestant('a', () => 2), contestant('b', () => 6)], options);
  // Each warms up and is tried once.
  expect(order.join('')).toBe(`aabb${'ab'}${'ba'}${'ab'}`);
  expect(timing).toEqual({
    seconds: [
      [0.002, 0.002, 0.002],
      [0.006, 0.006, 0.006],
    ],
    anchor: [1, 1],
    attempts: 1,
  });
});

test('who times itself is believed', async () => {
  const { contestant, options } = bench({ rounds: 2, sampleMilliseconds: 10 });
  // A message there and back takes 3 ms, what counts 2.
  const child = {
    async run() {
      await contestant('child', () => 5).run();
      return 0.002;
    },
  };
  const { seconds } = await timeInTurns([child, contestant('a', () => 5)], options);
  expect(seconds.map((rounds) => rounds.map((value) => Number(value.toFixed(9))))).toEqual([
    [0.002, 0.002],
    [0.005, 0.005],
  ]);
});

test('the first run does not count', async () => {
  const { contestant, options } = bench();
  let first = true;
  const slowFirst = contestant('a', () => {
    const milliseconds = first ? 5000 : 3;
    first = false;
    return milliseconds;
  });
  expect((await timeInTurns([slowFirst], options)).seconds[0]).toEqual(Array(8).fill(0.003));
});

test('a sample repeats short runs until it is long enough', async () => {
  const { order, contestant, options } = bench({ rounds: 1, sampleMilliseconds: 10 });
  const { seconds } = await timeInTurns([contestant('a', () => 3)], options);
  expect(order).toHaveLength(2 + 4);
  expect(seconds).toEqual([[0.003]]);
});

test('after its seconds a slow case has its least rounds and no more', async () => {
  const { contestant, options } = bench({ rounds: 20, seconds: 1, leastRounds: 11 });
  expect((await timeInTurns([contestant('a', () => 400)], options)).seconds[0]).toHaveLength(11);
});

test('rounds go on while an interval is wide, whatever it says, and not for ever', async () => {
  const random = randomSource(3);
  for (const [spread, least, most] of [
    [0, 8, 8],
    [1.5, 9, 31],
    [30, 32, 32],
  ] as const) {
    const { contestant, options } = bench({ rounds: 8, precision: 0.04 });
    const a = contestant('a', () => 10 + spread * random());
    const b = contestant('b', () => 20 + 2 * spread * random());
    const rounds = (await timeInTurns([a, b], options)).seconds.map(({ length }) => length);
    expect(rounds[0]).toBe(rounds[1]);
    expect(rounds[0]).toBeGreaterThanOrEqual(least);
    expect(rounds[0]).toBeLessThanOrEqual(most);
  }
});

test('a case whose anchor moved is timed again, and the steadiest attempt counts', async () => {
  let anchors = [1, 2, 1, 1.5, 1, 3];
  let took = 0;
  const { contestant, options } = bench({ rounds: 2, anchor: async () => anchors.shift()! });
  const slower = contestant('a', () => ++took);
  const timing = await timeInTurns([slower], options);
  expect(timing.anchor).toEqual([1, 1.5]);
  expect(timing.attempts).toBe(3);
  // Runs 1 and 2 warm up and try, 3 and 4 are the first attempt.
  expect(timing.seconds).toEqual([[0.005, 0.006]]);

  anchors = [1, 2, 1, 1.05, 9, 9];
  expect(await timeInTurns([slower], options)).toMatchObject({ anchor: [1, 1.05], attempts: 2 });

  // Six rounds of half a second take more than two: there is no time for another attempt.
  anchors = [1, 2, 1, 1];
  const slow = { ...options, rounds: 6, seconds: 2 };
  expect(await timeInTurns([contestant('a', () => 500)], slow)).toMatchObject({ anchor: [1, 2], attempts: 1 });
});

test('cancelling ends it between runs', async () => {
  const controller = new AbortController();
  const { order, contestant, options } = bench({ signal: controller.signal });
  const cancels = contestant('a', () => {
    if (order.length === 5) controller.abort(new Error('stop'));
    return 1;
  });
  await expect(timeInTurns([cancels], options)).rejects.toThrow('stop');
  expect(order).toHaveLength(5);
});

test('drift is the same in both directions, and one interruption is not drift', async () => {
  expect(driftOf([1, 1.25])).toBeCloseTo(0.25);
  expect(driftOf([1.25, 1])).toBeCloseTo(0.25);
  let time = 0;
  const takes = [2, 900, 4];
  const work = async () => {
    time += takes.shift()!;
  };
  expect(await middleOfThree(work, () => time)).toBe(0.004);
});

test('what is prepared several times is timed in all of them, as often as otherwise in one', async () => {
  const anchors = [1, 1, 1, 1.05, 1, 1.01];
  const { contestant, options } = bench({ rounds: 7, preparations: 3, anchor: async () => anchors.shift()! });
  const preparations: number[] = [];
  const timing = await timePreparations(async (time) => {
    preparations.push(time);
    // Where it lies the second time it is twice as slow.
    return [contestant('a', () => (time === 1 ? 8 : 4)), contestant('b', () => 4)];
  }, options);
  expect(preparations).toEqual([0, 1, 2]);
  expect(timing.seconds).toEqual([[4, 4, 4, 8, 8, 8, 4, 4, 4].map((value) => value / 1000), Array(9).fill(0.004)]);
  expect(timing).toMatchObject({ anchor: [1, 1.05], attempts: 1 });
});
