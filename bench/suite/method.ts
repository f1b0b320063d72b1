import { MIN_INTERVAL_VALUES, median } from '../../src/verify/statistics.ts';
import { pairedRatio } from './statistics.ts';

/** How cases are timed. */
export interface MethodOptions {
  /** Milliseconds, from any start. Default: `performance.now`. */
  readonly now?: () => number;
  /** Seconds that a fixed piece of work takes now: shows whether the device's clock moved. */
  readonly anchor: () => Promise<number>;
  /** Fewer than six give no interval. */
  readonly rounds: number;
  /**
   * Rounds go on, up to `MOST_ROUNDS` times as many, while the interval of a contestant's ratio to the first reaches farther than this fraction from it: what stops
   * them is how wide it is, never what it says. Default: they do not.
   */
  readonly precision?: number;
  /** Once `leastRounds` are timed, none starts after this many seconds. */
  readonly seconds: number;
  /**
   * Rounds of a case however slow it is: as many as `--compare` needs to see a change of one figure among all of ours in a suite. Six against six have a p of 1/462
   * at best, which is enough among the 13 of a quick run's products, ten against ten of 1/92378.
   */
  readonly leastRounds: number;
  /** A sample repeats its run until it lasts this long, so that reading the clock does not count. */
  readonly sampleMilliseconds: number;
  /** Change of the anchor over a case, as a fraction, from which on the case is timed again. */
  readonly mostDrift: number;
  /** Times that a case is timed again, unless its seconds are over. */
  readonly repeats: number;
  /**
   * Times that contestants are prepared, each with its share of rounds and seconds: where buffers happen to lie makes one a few percent faster or slower for as long as it
   * lives, and no number of rounds tells that from what it is. Default 1.
   */
  readonly preparations?: number;
  readonly signal?: AbortSignal | undefined;
}

export const FULL: Omit<MethodOptions, 'now' | 'anchor' | 'signal'> = {
  rounds: 21,
  leastRounds: 10,
  precision: 0.04,
  seconds: 20,
  sampleMilliseconds: 40,
  mostDrift: 0.1,
  repeats: 2,
  preparations: 3,
};

/** For `--quick`. */
export const QUICK: typeof FULL = {
  rounds: 9,
  leastRounds: 6,
  seconds: 2,
  sampleMilliseconds: 10,
  mostDrift: 0.15,
  repeats: 1,
};

/** A run without its circumstances. */
export interface Timed {
  /** Resolves to seconds where it times itself. */
  run(): Promise<void> | Promise<number>;
}

/** What timing contestants against each other gave. */
export interface Timing {
  /** Seconds of one run, by contestant and round. */
  readonly seconds: readonly (readonly number[])[];
  /** Seconds of the anchor before and after. */
  readonly anchor: readonly [number, number];
  /** Times that the case was timed; the attempt whose anchor moved least counts. */
  readonly attempts: number;
}

export const MOST_ROUNDS = 4;
/** Most runs of a sample. */
const MOST_RUNS = 256;
/** Browsers round their clocks: what takes no time that shows took a microsecond. */
const LEAST_SECONDS = 1e-6;

/** How far the anchor moved, either way, as a fraction. */
export const driftOf = ([before, after]: readonly [number, number]): number =>
  Math.max(before / after, after / before) - 1;

/**
 * Times contestants in turns, round by round, so that whatever slows the device down hits all alike; who begins changes from round to round, so that nobody always
 * follows the same. The first run of each warms up: it compiles and allocates. A case whose anchor moved too far is timed again while its seconds last.
 * @throws whatever a run throws; the signal's reason
 */
export async function timeInTurns(contestants: readonly Timed[], options: MethodOptions): Promise<Timing> {
  const { now = () => performance.now(), anchor, mostDrift, repeats, signal } = options;
  const time = async ({ run }: Timed, times: number): Promise<number> => {
    const start = now();
    let own: number | undefined;
    for (let i = 0; i < times; i++) {
      const seconds = await run();
      if (typeof seconds === 'number') own = (own ?? 0) + seconds;
    }
    return Math.max(LEAST_SECONDS, own ?? (now() - start) / 1000) / times;
  };
  const runs: number[] = [];
  for (const contestant of contestants) {
    signal?.throwIfAborted();
    await contestant.run();
    const once = await time(contestant, 1);
    runs.push(Math.min(MOST_RUNS, Math.max(1, Math.ceil(options.sampleMilliseconds / 1000 / once))));
  }
  let best: Timing | undefined;
  const begun = now();
  for (let attempt = 1; attempt <= repeats + 1; attempt++) {
    const before = await anchor();
    const seconds = await rounds();
    const timing: Timing = { seconds, anchor: [before, await anchor()], attempts: attempt };
    if (!best || driftOf(timing.anchor) < driftOf(best.anchor)) best = timing;
    best = { ...best, attempts: attempt };
    if (driftOf(best.anchor) <= mostDrift || now() - begun > 1000 * options.seconds) break;
  }
  return best!;

  async function rounds(): Promise<number[][]> {
    const seconds = contestants.map((): number[] => []);
    const started = now();
    for (let round = 0; round < MOST_ROUNDS * options.rounds; round++) {
      // Looked at after six rounds each, since an interval takes two thousand medians.
      const rest = round - options.rounds;
      if (rest >= 0 && rest % MIN_INTERVAL_VALUES === 0 && preciseEnough(seconds)) break;
      if (round >= options.leastRounds && now() - started > 1000 * options.seconds) break;
      for (let i = 0; i < contestants.length; i++) {
        signal?.throwIfAborted();
        const one = (i + round) % contestants.length;
        seconds[one]!.push(await time(contestants[one]!, runs[one]!));
      }
    }
    return seconds;
  }

  function preciseEnough([first, ...others]: readonly (readonly number[])[]): boolean {
    const { precision = Number.POSITIVE_INFINITY } = options;
    return others.every((other) => {
      const { ratio, interval } = pairedRatio(other, first!);
      return !interval || Math.max(interval[1] / ratio, ratio / interval[0]) - 1 <= precision;
    });
  }
}

/**
 * Times what `prepare` makes, `preparations` times, or until it makes nothing: all rounds together, and of the anchors those that moved most.
 * @throws whatever a run or a preparation throws; the signal's reason
 */
export async function timePreparations(
  prepare: (time: number) => Promise<readonly Timed[] | undefined>,
  options: MethodOptions,
): Promise<Timing> {
  const { preparations = 1, precision } = options;
  const share = {
    ...options,
    rounds: Math.ceil(options.rounds / preparations),
    leastRounds: Math.ceil(options.leastRounds / preparations),
    seconds: options.seconds / preparations,
    ...(precision && { precision: precision * Math.sqrt(preparations) }),
  };
  let all: Timing | undefined;
  for (let time = 0; time < preparations; time++) {
    const prepared = await prepare(time);
    if (!prepared) break;
    const timing = await timeInTurns(prepared, share);
    all = {
      seconds: timing.seconds.map((rounds, i) => [...(all?.seconds[i] ?? []), ...rounds]),
      anchor: all && driftOf(all.anchor) > driftOf(timing.anchor) ? all.anchor : timing.anchor,
      attempts: Math.max(timing.attempts, all?.attempts ?? 0),
    };
  }
  return all!;
}

/** The middle of three, so that one interruption does not look like a change of clocks. */
export async function middleOfThree(work: () => Promise<void>, now = () => performance.now()): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const start = now();
    await work();
    times.push(Math.max(LEAST_SECONDS, (now() - start) / 1000));
  }
  return median(times);
}
