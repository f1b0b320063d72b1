import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import { randomUniform } from '../graph/reference/random.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import type { WeightMaker } from '../verify/synthetic-weights.ts';
import type { Entrant, PreparedEntrant } from './contest.ts';

/** Bytes that weights cycle through: more than the caches of most CPUs, and of most GPUs. */
const CYCLED_BYTES = { software: 64 * 2 ** 20, gpu: 256 * 2 ** 20 };
/** Small matrices lie in caches in models, too. */
const MOST_COPIES = 64;
/** Steps of a run. */
const MOST_CHAINED = 64;
/** Of the memory that is left, at most this share is taken. */
const SHARE = 1 / 3;

/** Of a weight of so many bytes, as many copies as exceed the device's caches, if they fit its memory. */
export function copiesOf(gpu: Gpu, bytes: number): number {
  const { budget, bytesInUse } = gpu.memory;
  const affordable = Math.floor(((budget - bytesInUse) * SHARE) / bytes);
  const cycled = CYCLED_BYTES[gpu.description.software ? 'software' : 'gpu'];
  return Math.max(1, Math.min(MOST_COPIES, Math.ceil(cycled / bytes), affordable));
}

/** One thing that can be done in several ways, with its data on the device. */
export interface Work {
  /** The first is what serves where nothing was timed. */
  readonly variants: readonly string[];
  /** The steps of one product by a variant, each time with the next copy of what it reads. */
  steps(variant: string, copy: number): Step[];
  /** Distinct copies. */
  readonly copies: number;
  /** f32, written by the steps. */
  readonly out: BufferView & { readonly size: number };
  release(): void;
}

export interface WorkContext {
  readonly gpu: Gpu;
  readonly maker: WeightMaker;
}

/** So many numbers differ: as many as an input has would take longer to make than what is timed. A prime, so that no two rows are the same. */
const DISTINCT = 65521;

/** Random numbers from -1 to 1. */
export function workInput(count: number, seed: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = i < DISTINCT ? 2 * randomUniform(seed, i) - 1 : values[i - DISTINCT]!;
  return values;
}

/**
 * The variants of a work as entrants of a contest, and how many products a run of theirs has: with the usual variant it lasts for so many
 * seconds, so that its submit does not count. Whoever computes something else than that is refused.
 * @param most seconds beyond which there is nothing to be found out in time: of a product, and of the first one, for which some drivers compile
 */
export async function entrantsOf(
  gpu: Gpu,
  work: Work,
  seconds: number,
  most = { product: Number.POSITIVE_INFINITY, first: Number.POSITIVE_INFINITY },
): Promise<{ readonly entrants: Entrant[]; readonly chained: number } | undefined> {
  const [usual] = work.variants;
  const chained = await chainLength(gpu, work, usual!, seconds, most);
  if (chained === 0) return undefined;
  const expected = await outputOf(gpu, work, usual!);
  const runs = Math.ceil(work.copies / chained);
  const entrants = work.variants.map(
    (name): Entrant => ({
      name,
      async prepare(): Promise<PreparedEntrant> {
        const output = name === usual ? expected : await outputOf(gpu, work, name);
        if (!alike(output, expected)) throw new Error(`${name} computes something else than ${usual}.`);
        const recordings = await recordAll(
          gpu,
          Array.from({ length: runs }, (_, at) => chain(work, name, at * chained, chained)),
        );
        let next = 0;
        return {
          run: async () => {
            recordings[next++ % runs]!.submit();
            await gpu.idle();
          },
          release: () => {
            for (const recording of recordings) recording.release();
          },
        };
      },
    }),
  );
  return { entrants, chained };
}

const chain = ({ steps, copies }: Work, variant: string, from: number, count: number): Step[] =>
  Array.from({ length: count }, (_, i) => steps(variant, (from + i) % copies)).flat();

/** Records chains of steps, all at once: each by itself would wait for the device. */
async function recordAll(gpu: Gpu, chains: readonly Step[][]): Promise<Recording[]> {
  const ends = await Promise.allSettled(chains.map((steps) => gpu.scheduler.record(steps, 'tuning')));
  const made = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  const failed = ends.find((end) => end.status === 'rejected');
  if (!failed) return made;
  for (const recording of made) recording.release();
  throw failed.reason;
}

/** As many products as last for `seconds`, by what one takes; none where that is more than `most`. */
async function chainLength(
  gpu: Gpu,
  work: Work,
  usual: string,
  seconds: number,
  most: { readonly product: number; readonly first: number },
): Promise<number> {
  const time = async (count: number) => {
    const recording = await gpu.scheduler.record(chain(work, usual, 0, count), 'tuning');
    try {
      const start = performance.now();
      recording.submit();
      await gpu.idle();
      return (performance.now() - start) / 1000;
    } finally {
      recording.release();
    }
  };
  if ((await time(1)) > most.first) return 0;
  const one = await time(1);
  if (one > most.product) return 0;
  if (one > seconds) return 1;
  const nine = await time(9);
  // A submit takes the same for one step and for nine.
  const each = Math.max((nine - one) / 8, nine / 18, 1e-7);
  return Math.min(MOST_CHAINED, Math.max(1, Math.ceil(seconds / each)));
}

/** Of an output so many runs of numbers are looked at, evenly spread from its beginning to its end: reading millions back would take longer than making them. */
const RUNS_SEEN = 64;
const RUN_BYTES = 1024;

/** Some of what a variant computes. */
async function outputOf(gpu: Gpu, { out, steps }: Work, variant: string): Promise<Float32Array> {
  gpu.clear(out.buffer, out.size);
  await gpu.scheduler.run(steps(variant, 0));
  const apart = (out.size - RUN_BYTES) / (RUNS_SEEN - 1);
  const views =
    out.size <= RUNS_SEEN * RUN_BYTES
      ? [out]
      : Array.from({ length: RUNS_SEEN }, (_, i) => ({
          ...{ buffer: out.buffer, offset: 4 * Math.floor((i * apart) / 4), size: RUN_BYTES },
        }));
  const seen = await gpu.readBackAll(views);
  const all = new Float32Array(seen.reduce((sum, { length }) => sum + length, 0) / 4);
  let at = 0;
  for (const bytes of seen) {
    all.set(new Float32Array(bytes.buffer), at);
    at += bytes.length / 4;
  }
  return all;
}

/** Variants differ by the order of sums. A driver that gets one wrong is off by more. */
const MOST_DIFFERENCE = 1e-3;

function alike(a: Float32Array, b: Float32Array): boolean {
  let [difference, size] = [0, 0];
  for (const [i, value] of a.entries()) {
    difference += (value - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference) <= MOST_DIFFERENCE * Math.sqrt(size);
}
