import { describe, expect, test } from 'vitest';
import type { Standing } from '../../../src/tuner/contest.ts';
import { repeatContest } from '../../../src/tuner/repeated-contest.ts';

const NAMES = ['usual', 'a', 'b', 'far'];

/** Contests that end as given, and who took part in each. */
function play(times: number, ...rounds: (Readonly<Record<string, number>> | undefined)[]) {
  const entered: string[][] = [];
  const hold = async (names: readonly string[]): Promise<Standing | undefined> => {
    const all = rounds[entered.length];
    entered.push([...names]);
    if (!all) return undefined;
    const seconds = new Map(Object.entries(all).filter(([name]) => names.includes(name)));
    const [winner] = [...seconds].reduce((x, y) => (y[1] < x[1] ? y : x));
    return { winner, clear: true, seconds };
  };
  return { entered, verdict: repeatContest(NAMES, times, hold) };
}

describe('a contest that is held several times', () => {
  test('goes to who is fastest over all, not to who was once, and is clear only where they agree', async () => {
    const { verdict, entered } = play(
      3,
      { usual: 1.3, a: 1, b: 1.06, far: 2 },
      { usual: 1.3, a: 1.1, b: 1, far: 2 },
      { usual: 1.3, a: 1.1, b: 1, far: 2 },
    );
    const { winner, clear, seconds } = (await verdict)!;
    expect(winner).toBe('b');
    expect(clear).toBe(false);
    expect(seconds.get('a')).toBe(1.1);
    expect(entered).toEqual([NAMES, ['usual', 'a', 'b'], ['usual', 'a', 'b']]);
    const agreed = play(2, { usual: 1.2, a: 1, b: 1.1 }, { usual: 1.2, a: 1, b: 1.1 });
    expect(await agreed.verdict).toMatchObject({ winner: 'a', clear: true });
  });

  test('ends where nobody else is near, when its time is over, and as it began where that is at once', async () => {
    const alone = play(3, { usual: 2, a: 1, b: 1.5 });
    expect(await alone.verdict).toMatchObject({ winner: 'a', clear: true });
    expect(alone.entered).toHaveLength(1);
    const late = play(3, { usual: 1.2, a: 1, b: 1.1 }, undefined);
    expect(await late.verdict).toMatchObject({ winner: 'a' });
    expect(await play(3, undefined).verdict).toBeUndefined();
  });

  test('stays with the usual variant in a tie', async () => {
    const { verdict } = play(2, { usual: 1.01, a: 1, b: 2 }, { usual: 1.02, a: 1, b: 2 });
    expect(await verdict).toMatchObject({ winner: 'usual', clear: true });
  });
});
