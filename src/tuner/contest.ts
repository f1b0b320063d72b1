import { CancelledError, DeviceLostError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { median } from '../verify/statistics.ts';

/** One way to do a work. */
export interface Entrant {
  readonly name: string;
  /** Compiles, allocates and records: all that is not to be timed. */
  prepare(): Promise<PreparedEntrant>;
}

export interface PreparedEntrant {
  /** Does the work once; resolves when the device has finished it. */
  run(): Promise<void>;
  release(): void;
}

export interface ContestOptions {
  /** Of runs: no round begins after so many, once three are done; from half of them on no other entrant is looked at. */
  readonly seconds: number;
  /** Of everything, preparation included: no other entrant is looked at after so many, and no round begins that would go beyond. Default: no end. */
  readonly wall?: number;
  readonly mostRounds?: number;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds. Default: `performance.now`. */
  readonly now?: () => number;
}

/** How a contest ended. */
export interface Standing {
  readonly winner: string;
  /** Whether all were looked at, and the interval of the winner's time over that of every other that was not dropped ends below 1 + `TIE`. */
  readonly clear: boolean;
  /** Median seconds of a run by entrant, of those that were looked at; of one that was dropped, as far as it came. */
  readonly seconds: ReadonlyMap<string, number>;
}

/** As much faster another may be without being worth the time to find out. */
export const TIE = 0.03;
/** The first entrant, which serves without a contest, stays unless another is faster by this. */
export const WORTH = 0.02;
/** Rounds that give a 95% interval: of six values all but 3% enclose the median. */
const LEAST_ROUNDS = 6;
const MOST_ROUNDS = 30;

/** How far behind an entrant's best time may be for it to come along after its first run. */
const FAR = 2;

interface Runner extends PreparedEntrant {
  readonly name: string;
  /** Of the rounds. */
  readonly seconds: number[];
  /** Of all runs: interruptions only make slower, so that it says most while there are few. */
  least: number;
}

/**
 * Times entrants in turns, round by round, so that what slows the device down hits all. Those that are far behind are dropped: after their
 * first run at twice the best time, then at ever less, then the slower half (successive halving: Jamieson & Talwalkar, 2016), then whoever's
 * interval is behind. Ends as soon as nobody can be ahead by more than `TIE`. One that fails is dropped, too. The first entrant is the one that
 * serves anyway: it wins ties.
 * @throws what the first entrant throws; CancelledError, DeviceLostError
 */
export async function holdContest(entrants: readonly Entrant[], options: ContestOptions): Promise<Standing> {
  const { seconds: budget, wall = Number.POSITIVE_INFINITY, mostRounds = MOST_ROUNDS, signal } = options;
  const { now = () => performance.now() } = options;
  const started = now();
  const elapsed = () => (now() - started) / 1000;
  let ran = 0;
  const known = new Map<string, number>();
  let alive: Runner[] = [];
  let complete = true;
  const drop = (runner: Runner) => {
    runner.release();
    alive = alive.filter((one) => one !== runner);
  };
  const run = async (runner: Runner) => {
    const start = now();
    await runner.run();
    const seconds = Math.max(1e-6, (now() - start) / 1000);
    ran += seconds;
    return seconds;
  };
  const time = async (runner: Runner) => {
    checkCancelled(signal, 'Tuning');
    const seconds = await run(runner);
    runner.seconds.push(seconds);
    runner.least = Math.min(runner.least, seconds);
    known.set(runner.name, median(runner.seconds));
  };
  const of = (runner: Runner) => known.get(runner.name)!;
  const leader = () => alive.reduce((best, one) => (of(one) < of(best) ? one : best));
  try {
    for (const { name, prepare } of entrants) {
      checkCancelled(signal, 'Tuning');
      if (alive.length > 0 && (ran > budget / 2 || elapsed() > wall)) {
        complete = false;
        break;
      }
      let runner: Runner | undefined;
      try {
        runner = { name, seconds: [], least: Number.POSITIVE_INFINITY, ...(await prepare()) };
        await run(runner);
        alive.push(runner);
        await time(runner);
        // Whoever was interrupted gets a second try.
        if (runner.least > FAR * leastOf(alive)) await time(runner);
        if (runner.least > FAR * leastOf(alive)) drop(runner);
      } catch (error) {
        if (runner) drop(runner);
        if (alive.length === 0 || error instanceof CancelledError || error instanceof DeviceLostError) throw error;
      }
    }
    // The first runs tell who comes along, no more.
    for (const { seconds } of alive) seconds.length = 0;
    for (let round = 1; alive.length > 1 && round <= mostRounds; round++) {
      const next = alive.reduce((sum, one) => sum + of(one), 0);
      if ((round > 3 && ran > budget) || elapsed() + next > wall) break;
      for (let i = 0; i < alive.length; i++) await time(alive[(i + round) % alive.length]!);
      const first = leader();
      for (const runner of behind(alive, first, round)) drop(runner);
      if (round >= LEAST_ROUNDS && alive.every((one) => one === first || tied(first, one))) break;
    }
    const first = leader();
    const clear =
      complete && alive.every((one) => one === first || (one.seconds.length >= LEAST_ROUNDS && tied(first, one)));
    const usual = alive.find(({ name }) => name === entrants[0]!.name);
    const winner = usual && of(usual) <= (1 + WORTH) * of(first) ? usual : first;
    return { winner: winner.name, clear, seconds: known };
  } finally {
    for (const runner of alive) runner.release();
  }
}

const leastOf = (runners: readonly Runner[]): number => Math.min(...runners.map(({ least }) => least));

/** Whom a round shows to be behind. */
function behind(alive: readonly Runner[], first: Runner, round: number): Runner[] {
  const others = alive.filter((one) => one !== first).sort((a, b) => a.least - b.least);
  const best = leastOf(alive);
  if (round <= 2) return others.filter(({ least }) => least > 1.6 * best);
  const far = others.filter(({ least }) => least > 1.25 * best);
  if (round === 3) {
    const slowerHalf = others.slice(Math.ceil(alive.length / 2) - 1).filter(({ least }) => least > 1.1 * best);
    return [...new Set([...far, ...slowerHalf])];
  }
  if (round < LEAST_ROUNDS) return far;
  return others.filter((one) => ratioInterval(one.seconds, first.seconds)[0] > 1 + WORTH);
}

const tied = (first: Runner, other: Runner): boolean => ratioInterval(first.seconds, other.seconds)[1] <= 1 + TIE;

/**
 * The interval of the median of a[i] / b[i], from order statistics: between which of the sorted ratios the median lies with 95% or more, by the
 * binomial distribution, whatever theirs is. Of fewer than six there is none.
 */
export function ratioInterval(a: readonly number[], b: readonly number[]): readonly [number, number] {
  const ratios = a.map((value, i) => value / b[i]!).sort((x, y) => x - y);
  const n = ratios.length;
  let below = 0.5 ** n;
  if (2 * below > 0.05) return [0, Number.POSITIVE_INFINITY];
  let [at, ways] = [0, 1];
  for (;;) {
    ways *= (n - at) / (at + 1);
    if (2 * (below + ways * 0.5 ** n) > 0.05) return [ratios[at]!, ratios[n - 1 - at]!];
    below += ways * 0.5 ** n;
    at++;
  }
}
