import { describe, expect, test } from 'vitest';
import { CancelledError, DeviceLostError } from '../../../src/errors.ts';
import { type Entrant, holdContest, ratioInterval } from '../../../src/tuner/contest.ts';
import { randomSource } from '../../gpu/random.ts';

/** Entrants that take so many seconds on a clock of their own, more or less, and how often each ran. */
function stage(seconds: Readonly<Record<string, number>>, noise = 0, seed = 1, preparing = 0.01) {
  const random = randomSource(seed);
  const runs: Record<string, number> = {};
  let clock = 0;
  let open = 0;
  const entrants = Object.entries(seconds).map(
    ([name, time]): Entrant => ({
      name,
      prepare: async () => {
        open++;
        clock += 1000 * preparing;
        return {
          run: async () => {
            runs[name] = (runs[name] ?? 0) + 1;
            // Interruptions only make slower, now and then by much.
            clock += 1000 * time * (1 + noise * random() + (random() < 0.05 ? 10 * noise : 0));
          },
          release: () => {
            open--;
          },
        };
      },
    }),
  );
  return { entrants, runs, now: () => clock, open: () => open };
}

const TEN = { usual: 1.5, a: 1.3, b: 1.1, best: 1, c: 1.2, d: 3, e: 10, f: 1.4, g: 2.5, h: 1.8 };

describe('a contest', () => {
  test('finds the fastest through noise, whatever the order, and spends little on the others', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const { entrants, runs, now, open } = stage(TEN, 0.2, seed);
      const { winner, clear } = await holdContest(entrants, { seconds: 1000, now });
      expect(winner, String(seed)).toBe('best');
      expect(clear).toBe(true);
      expect(open()).toBe(0);
      // One that is three and ten times as slow: a first run, the timed one, and one more try.
      expect(runs.d!).toBeLessThanOrEqual(3);
      expect(runs.e!).toBeLessThanOrEqual(3);
    }
  });

  test('ends a tie soon, for the variant that serves anyway', async () => {
    const { entrants, now, runs } = stage({ usual: 1.01, other: 1 }, 0.01);
    expect(await holdContest(entrants, { seconds: 1e6, now })).toMatchObject({ winner: 'usual', clear: true });
    expect(runs.usual!).toBeLessThan(20);
  });

  test('takes another one that is faster by more than a tie', async () => {
    const { entrants, now } = stage({ usual: 1.05, other: 1 }, 0.005);
    expect(await holdContest(entrants, { seconds: 1e6, now })).toMatchObject({ winner: 'other', clear: true });
  });

  test('ends when the time is over, with what it knows, and says so', async () => {
    const { entrants, now, runs } = stage(TEN, 0.2);
    const { winner, clear } = await holdContest(entrants, { seconds: 4, now });
    expect(Object.keys(TEN)).toContain(winner);
    expect(clear).toBe(false);
    // What half of the time did not suffice for was not looked at.
    expect(runs.h).toBeUndefined();
    expect(runs.usual!).toBeLessThan(8);
    const { entrants: slow, now: later, runs: once } = stage({ usual: 100, other: 1 });
    expect(await holdContest(slow, { seconds: 1, now: later })).toMatchObject({ winner: 'usual', clear: false });
    expect(once.other).toBeUndefined();
  });

  test('looks at all, however long their preparation takes, as long as that may take', async () => {
    const { entrants, now, runs } = stage(TEN, 0.2, 1, 100);
    expect(await holdContest(entrants, { seconds: 300, now })).toMatchObject({ winner: 'best', clear: true });
    expect(Object.keys(runs)).toEqual(Object.keys(TEN));
  });

  test('ends, preparation included, with the entrant that it is looking at', async () => {
    const { entrants, now, runs } = stage(TEN, 0.2, 1, 100);
    expect(await holdContest(entrants, { seconds: 300, wall: 250, now })).toMatchObject({ clear: false });
    // The third is the last that begins before 250 s; no round follows.
    expect(Object.keys(runs)).toEqual(['usual', 'a', 'b']);
    expect(now() / 1000).toBeLessThan(330);
    const rounds = stage(TEN);
    await holdContest(rounds.entrants, { seconds: 1e6, wall: 150, now: rounds.now });
    expect(rounds.now() / 1000).toBeLessThan(150);
    expect(Object.keys(rounds.runs)).toEqual(Object.keys(TEN));
  });

  test('goes on without one that fails, but not without the first', async () => {
    const { entrants, now } = stage({ usual: 2, best: 1 });
    const failing: Entrant = { name: 'failing', prepare: () => Promise.reject(new Error('does not compile')) };
    const breaking: Entrant = {
      name: 'breaking',
      prepare: async () => ({ run: () => Promise.reject(new Error('does not run')), release: () => {} }),
    };
    const [usual, best] = entrants as [Entrant, Entrant];
    const options = { seconds: 100, now };
    expect((await holdContest([usual, failing, breaking, best], options)).winner).toBe('best');
    await expect(holdContest([failing, best], options)).rejects.toThrow('does not compile');
    const lost: Entrant = { name: 'lost', prepare: () => Promise.reject(new DeviceLostError('gone')) };
    await expect(holdContest([usual, lost, best], options)).rejects.toThrow(DeviceLostError);
  });

  test('can be cancelled between runs, and releases everything', async () => {
    const { entrants, now, open } = stage(TEN);
    const controller = new AbortController();
    const [first] = entrants as [Entrant];
    const cancelling: Entrant = {
      name: 'cancelling',
      async prepare() {
        controller.abort();
        return first.prepare();
      },
    };
    const contest = holdContest([...entrants.slice(0, 3), cancelling, ...entrants.slice(3)], {
      ...{ seconds: 100, now, signal: controller.signal },
    });
    await expect(contest).rejects.toThrow(CancelledError);
    expect(open()).toBe(0);
  });
});

describe('the interval of a ratio', () => {
  test('is between order statistics, by the binomial distribution', () => {
    const ones = (n: number) => new Array<number>(n).fill(1);
    const up = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
    // Tables of the sign test: 1 of 6, 2 of 9, 4 of 15, 6 of 20, 10 of 30.
    const expected: [number, number][] = [[6, 1], [8, 1], [9, 2], [12, 3], [15, 4], [20, 6], [30, 10]]; // biome-ignore format: a table
    for (const [n, rank] of expected) {
      expect(ratioInterval(up(n), ones(n)), String(n)).toEqual([rank, n + 1 - rank]);
    }
    expect(ratioInterval(up(5), ones(5))).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  test('holds the median in 95 of 100 cases and more', () => {
    const random = randomSource(5);
    let held = 0;
    const times = 2000;
    for (let i = 0; i < times; i++) {
      const values = Array.from({ length: 15 }, () => Math.exp(random() - 0.5));
      const [low, high] = ratioInterval(values, new Array(15).fill(1));
      if (low <= 1 && high >= 1) held++;
    }
    expect(held / times).toBeGreaterThan(0.95);
  });
});
