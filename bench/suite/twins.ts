import type { Gpu } from '../../src/gpu/gpu.ts';
import { openAnchor } from './anchor.ts';
import type { Prepared } from './contestant.ts';
import { FULL, QUICK, timePreparations } from './method.ts';
import { runCase } from './run-case.ts';
import { pairedRatio, type Ratio } from './statistics.ts';
import type { OpenCase, Roofline, SuiteContext } from './suite.ts';
import { linearCase, REGISTER_TILE } from './suites/linear.ts';
import { rooflineOf, rooflineSuite } from './suites/roofline.ts';

const CYCLED_BYTES = 64 * 2 ** 20;
const FORMATS = ['q4_0', 'q8_0', 'f32'] as const;
const BATCHES = [1, 16] as const;

/** A context for single cases, as claims need them. */
function contextOf(gpu: Gpu, roofline?: Roofline): SuiteContext {
  return {
    ...{ gpu, quick: true, peers: [], cycledBytes: CYCLED_BYTES },
    openModel: () => Promise.reject(new Error('These cases have no model.')),
    ...(roofline && { roofline }),
  };
}

/** What the device does at best, by the suite's own method. */
async function measureRoofline(gpu: Gpu, anchor: () => Promise<number>): Promise<Roofline> {
  const cases = [];
  for (const one of rooflineSuite.cases({ gpu, quick: true })) {
    const { result } = await runCase(one, contextOf(gpu), { ...QUICK, anchor });
    if (result) cases.push(result);
  }
  return rooflineOf(cases)!;
}

/** 95% intervals of the ratio of a product's time to its own: the suite against itself, over formats, sizes and batches in turns. */
export async function measureTwins(
  gpu: Gpu,
  count: number,
  sizes: readonly number[],
): Promise<(readonly [number, number])[]> {
  const anchor = await openAnchor(gpu);
  const intervals: (readonly [number, number])[] = [];
  try {
    const context = contextOf(gpu, await measureRoofline(gpu, anchor.measure));
    for (let i = 0; i < count; i++) {
      const size = sizes[i % sizes.length]!;
      const format = FORMATS[Math.floor(i / sizes.length) % FORMATS.length]!;
      const batch = BATCHES[i % BATCHES.length]!;
      const opened: OpenCase = await linearCase(format, size, size, batch).open(context);
      const twins: Prepared[] = [];
      const releaseTwins = async () => {
        for (const twin of twins.splice(0)) await twin.release();
      };
      try {
        const { seconds } = await timePreparations(
          async () => {
            await releaseTwins();
            gpu.memory.trim();
            // Prepared twice: twins share nothing but their work.
            for (const _ of [0, 1]) twins.push((await opened.contestants[0]!.prepare(opened.work))!);
            return twins;
          },
          { ...FULL, anchor: anchor.measure },
        );
        intervals.push(pairedRatio(seconds[0]!, seconds[1]!).interval!);
      } finally {
        await releaseTwins();
        opened.release();
      }
    }
    return intervals;
  } finally {
    anchor.release();
  }
}

/** The dense product of `size`³ and the register tile that the suite keeps for it. */
export async function measureSquare(
  gpu: Gpu,
  size = 1024,
): Promise<{ speedUp: Ratio; rate: number; baselineRate: number; fraction: number }> {
  const anchor = await openAnchor(gpu);
  try {
    const context = contextOf(gpu, await measureRoofline(gpu, anchor.measure));
    const { result, failures } = await runCase(linearCase('f32', size, size, size), context, {
      ...FULL,
      anchor: anchor.measure,
    });
    const ours = result?.contestants[0];
    const tile = result?.contestants.find(({ name }) => name === REGISTER_TILE);
    if (!ours?.speedUp || !tile) throw new Error(`The square product gave no figure: ${failures[0]?.message}`);
    return {
      speedUp: ours.speedUp,
      rate: ours.gigaOperationsPerSecond!,
      baselineRate: tile.gigaOperationsPerSecond!,
      fraction: ours.ofRoofline!.fraction,
    };
  } finally {
    anchor.release();
  }
}
