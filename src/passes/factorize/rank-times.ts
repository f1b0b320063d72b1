import type { Format } from '../../formats/format.ts';
import { formatBytes } from '../../formats/layout.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { linearSteps } from '../../kernels/linear.ts';
import { usualVariant } from '../../kernels/linear-variants.ts';
import { allocateWeight, type Weight } from '../../kernels/weight.ts';
import { interleavedTimes } from '../../scheduler/interleaved-times.ts';
import type { Recording } from '../../scheduler/scheduler.ts';
import { copiesOf } from '../../tuner/work.ts';
import { median } from '../../verify/statistics.ts';
import type { RankCosts } from './rank-budget.ts';

/** A matrix as products see it: its size, and the formats that it has whole and as factors. */
export interface TimedShape {
  readonly rows: number;
  readonly columns: number;
  readonly whole: Format;
  readonly factors: Format;
}

const ROUNDS = 7;
/** Multiply-adds of a sample, so that it takes longer than a submit does, and products at most. */
const WORK = 2 ** 26;
const MOST_PRODUCTS = 64;
/** Shares of the rank from which on factors have as many parameters as the matrix. */
const SHARES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1] as const;
const WHAT = 'Measuring the time of ranks';

const keyOf = ({ rows, columns, whole, factors }: TimedShape): string =>
  [rows, columns, whole.name, factors.name].join();

/**
 * What matrices take for a token on this device, in milliseconds: whole, and as factors of some ranks; between those times go straight, and never down.
 * @throws CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function measureRankTimes(
  gpu: Gpu,
  shapes: readonly TimedShape[],
  signal?: AbortSignal,
): Promise<(shape: TimedShape) => RankCosts> {
  const found = new Map<string, RankCosts>();
  for (const shape of shapes) {
    const key = keyOf(shape);
    if (!found.has(key)) found.set(key, await timesOf(gpu, shape, signal));
  }
  return (shape) => found.get(keyOf(shape))!;
}

/** Ranks that are whole blocks of the left factor's rows. */
function ranksToTime({ rows, columns, factors }: TimedShape): number[] {
  const most = Math.min((rows * columns) / (rows + columns), rows, columns);
  const ranks = SHARES.map((share) => Math.max(1, Math.round((share * most) / factors.block)) * factors.block);
  return [...new Set(ranks)].sort((a, b) => a - b);
}

async function timesOf(gpu: Gpu, shape: TimedShape, signal: AbortSignal | undefined): Promise<RankCosts> {
  const { rows, columns, whole, factors } = shape;
  const ranks = ranksToTime(shape);
  const count = Math.max(1, Math.min(MOST_PRODUCTS, Math.ceil(WORK / (rows * columns))));
  const scratch = new Scratch(gpu);
  const weights: Weight[] = [];
  const recordings: Recording[] = [];
  // Their values do not matter to speed; where they lie does: one that is read again comes out of a cache.
  const weightsOf = (format: Format, rows: number, k: number): Weight[] => {
    const copies = Math.min(count, copiesOf(gpu, formatBytes(format, rows, k)));
    const made = Array.from({ length: copies }, () => allocateWeight(gpu, format, rows, k, 'timed weight'));
    weights.push(...made);
    return made;
  };
  const product = (x: BufferView, weight: Weight, y: BufferView): Step[] => {
    const { rows, k, format } = weight;
    return linearSteps({ x, weight, y, tokens: 1, variant: usualVariant(gpu, { rows, k, tokens: 1 }, format) });
  };
  const record = (steps: (at: number) => Step[]) =>
    gpu.scheduler.record(Array.from({ length: count }, (_, at) => steps(at)).flat(), 'a rank');
  try {
    const x = scratch.upload(new Float32Array(columns).fill(0.5), 'x');
    const middle = scratch.room(4 * Math.max(...ranks), 'middle');
    const y = scratch.room(4 * rows, 'y');
    const matrices = weightsOf(whole, rows, columns);
    recordings.push(await record((at) => product(x, matrices[at % matrices.length]!, y)));
    for (const rank of ranks) {
      const between = { ...middle, size: 4 * rank };
      const [right, left] = [weightsOf(factors, rank, columns), weightsOf(factors, rows, rank)];
      recordings.push(
        await record((at) => [
          ...product(x, right[at % right.length]!, between),
          ...product(between, left[at % left.length]!, y),
        ]),
      );
    }
    const times = await interleavedTimes(gpu, recordings, ROUNDS, WHAT, signal);
    const [all, ...some] = times.map((samples) => median(samples) / count) as [number, ...number[]];
    return rankCosts(all, ranks, some);
  } finally {
    for (const one of recordings) one.release();
    for (const weight of weights) weight.release();
    scratch.release();
  }
}

/** Times at some ranks as a function of every rank: straight between them, and as measured at the lowest and beyond the highest. */
export function rankCosts(whole: number, ranks: readonly number[], times: readonly number[]): RankCosts {
  const rising = [...times];
  for (let i = 1; i < rising.length; i++) rising[i] = Math.max(rising[i]!, rising[i - 1]!);
  const of = (rank: number): number => {
    const above = ranks.findIndex((known) => known >= rank);
    if (above === 0) return rising[0]!;
    if (above < 0) return rising.at(-1)!;
    const [low, high] = [ranks[above - 1]!, ranks[above]!];
    const share = (rank - low) / (high - low);
    return rising[above - 1]! + share * (rising[above]! - rising[above - 1]!);
  };
  return { whole, of };
}
