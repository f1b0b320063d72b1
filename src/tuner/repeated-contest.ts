import { median } from '../verify/statistics.ts';
import { type Standing, TIE, WORTH } from './contest.ts';

/** A variant that was this many times as slow as the best does not come along again. */
export const FAR = 1.25;

/**
 * Holds a contest several times, each with data and recordings of its own: where buffers happen to lie can make a variant a tenth faster or slower all through one
 * contest, however long that is. Who was far behind does not come along again.
 * @param names the usual variant first, which always takes part
 * @param hold undefined: no time is left
 */
export async function repeatContest(
  names: readonly string[],
  times: number,
  hold: (names: readonly string[]) => Promise<Standing | undefined>,
): Promise<Standing | undefined> {
  const standings: Standing[] = [];
  const [usual] = names as [string];
  let left = names;
  while (standings.length < times && left.length > 1) {
    const standing = await hold(left);
    if (!standing) break;
    standings.push(standing);
    const near = [...scoresOf(standings)].flatMap(([name, score]) => (score <= FAR ? [name] : []));
    // Alone near the best: another contest changes nothing.
    left = near.length < 2 ? [] : [usual, ...near.filter((name) => name !== usual)];
  }
  return standings.length > 0 ? verdictOf(usual, standings) : undefined;
}

/** The mean, by ratio, of the times over the best of their contest, of those that took part in all. */
function scoresOf(standings: readonly Standing[]): Map<string, number> {
  const logs = standings.map(({ seconds }) => {
    const least = Math.min(...seconds.values());
    return new Map([...seconds].map(([name, time]) => [name, Math.log(time / least)]));
  });
  const names = [...logs[0]!.keys()].filter((name) => logs.every((one) => one.has(name)));
  const sums = names.map((name) => logs.reduce((sum, one) => sum + one.get(name)!, 0));
  return new Map(names.map((name, i) => [name, Math.exp(sums[i]! / logs.length)]));
}

function verdictOf(usual: string, standings: readonly Standing[]): Standing {
  if (standings.length === 1) return standings[0]!;
  const scores = scoresOf(standings);
  const [first, best] = [...scores].reduce((a, b) => (b[1] < a[1] ? b : a));
  const score = scores.get(usual);
  const winner = score !== undefined && score <= (1 + WORTH) * best ? usual : first;
  const agree = standings.every(({ seconds }) => seconds.get(winner)! <= (1 + TIE) * Math.min(...seconds.values()));
  const times = new Map<string, number[]>();
  for (const { seconds } of standings) {
    for (const [name, time] of seconds) times.set(name, [...(times.get(name) ?? []), time]);
  }
  return {
    winner,
    clear: agree && standings.every(({ clear }) => clear),
    seconds: new Map([...times].map(([name, each]) => [name, median(each)])),
  };
}
