import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView, Step } from '../gpu/kernel.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import type { WeightMaker } from '../verify/synthetic-weights.ts';
import type { Entrant, PreparedEntrant } from './contest.ts';

/** Bytes that weights cycle through: more than the caches of most devices. */
export const CYCLED_BYTES = 64 * 2 ** 20;
/** Small matrices lie in caches in models, too. */
export const MOST_COPIES = 64;
/** Steps of a run. */
const MOST_CHAINED = 64;
/** Of the memory that is left, at most this share is taken. */
export const SHARE = 1 / 3;

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

/**
 * The variants of a work as entrants of a contest, and how many products a run of theirs has: with the usual variant it lasts for so many
 * seconds, so that its submit does not count. Whoever computes something else than that is refused.
 */
export async function entrantsOf(
  gpu: Gpu,
  work: Work,
  seconds: number,
): Promise<{ readonly entrants: Entrant[]; readonly chained: number }> {
  const [usual] = work.variants;
  const expected = await outputOf(gpu, work, usual!);
  const chained = await chainLength(gpu, work, usual!, seconds);
  const runs = Math.ceil(work.copies / chained);
  const entrants = work.variants.map(
    (name): Entrant => ({
      name,
      async prepare(): Promise<PreparedEntrant> {
        const output = name === usual ? expected : await outputOf(gpu, work, name);
        if (!alike(output, expected)) throw new Error(`${name} computes something else than ${usual}.`);
        const recordings: Recording[] = [];
        let next = 0;
        return {
          run: async () => {
            const at = next++ % runs;
            recordings[at] ??= await gpu.scheduler.record(chain(work, name, at * chained, chained), 'tuning');
            recordings[at].submit();
            await gpu.idle();
          },
          release: () => {
            for (const recording of recordings) recording?.release();
          },
        };
      },
    }),
  );
  return { entrants, chained };
}

const chain = ({ steps, copies }: Work, variant: string, from: number, count: number): Step[] =>
  Array.from({ length: count }, (_, i) => steps(variant, (from + i) % copies)).flat();

/** As many products as last for `seconds`, by what one takes. */
async function chainLength(gpu: Gpu, work: Work, usual: string, seconds: number): Promise<number> {
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
  const [one, nine] = [await time(1), await time(1).then((again) => (again > seconds ? undefined : time(9)))];
  if (nine === undefined) return 1;
  // A submit takes the same for one step and for nine.
  const each = Math.max((nine - one) / 8, nine / 18, 1e-7);
  return Math.min(MOST_CHAINED, Math.max(1, Math.ceil(seconds / each)));
}

async function outputOf(gpu: Gpu, work: Work, variant: string): Promise<Float32Array> {
  gpu.clear(work.out.buffer, work.out.size);
  await gpu.scheduler.run(work.steps(variant, 0));
  return new Float32Array((await gpu.readBack(work.out.buffer, 0, work.out.size)).buffer);
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
