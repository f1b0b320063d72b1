import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { AttentionNeed, LinearNeed, Need } from '../../src/graph/variant-choice.ts';
import { attentionVariantsFor, usualAttentionVariant } from '../../src/kernels/attention-variants.ts';
import { linearVariantsFor, usualVariant } from '../../src/kernels/linear-variants.ts';
import { attentionWork } from '../../src/tuner/attention-work.ts';
import type { Entrant, PreparedEntrant } from '../../src/tuner/contest.ts';
import { linearWork } from '../../src/tuner/linear-work.ts';
import { classKey } from '../../src/tuner/shape-class.ts';
import { memoryTuningStore } from '../../src/tuner/store.ts';
import { Tuner } from '../../src/tuner/tuner.ts';
import { entrantsOf } from '../../src/tuner/work.ts';
import { WeightMaker } from '../../src/verify/synthetic-weights.ts';
import { pairedRatio } from './statistics.ts';

const FORMATS = ['f32', 'f16', 'q4_0', 'q8_0', 'q4_k', 'q6_k', 'int4-g32', 'int3-g64'];
const TOKENS = [1, 4, 16, 64];
/** Rows and weights of a row. */
const SIZES = [
  [1024, 1024],
  [2048, 512],
  [512, 2048],
] as const;

const ATTENTION: readonly Omit<AttentionNeed, 'kind' | 'tokens' | 'cache'>[] = [
  { heads: 8, kvHeads: 2, headDim: 64, positions: 256 },
  { heads: 8, kvHeads: 8, headDim: 64, positions: 1024 },
  { heads: 16, kvHeads: 4, headDim: 128, positions: 512 },
  { heads: 4, kvHeads: 1, headDim: 32, positions: 2048 },
];

/** Forty classes of shapes: products in eight formats of one to 64 tokens, and attention of one token and of many. */
export const SHAPE_CLASSES: readonly Need[] = [
  ...FORMATS.flatMap((format, f) =>
    TOKENS.map((tokens, t): LinearNeed => {
      const [rows, k] = SIZES[(f + t) % SIZES.length]!;
      return { kind: 'linear', format: formatByName(format), rows, k, tokens };
    }),
  ),
  ...[1, 64].flatMap((tokens) =>
    ATTENTION.map((one): AttentionNeed => ({ kind: 'attention', cache: 'f32', tokens, ...one })),
  ),
];

/** The time of a tuner's choice over that of another variant, and its 95% interval. */
export interface Rival {
  readonly name: string;
  readonly ratio: number;
  readonly interval: readonly [number, number];
}

/** What a tuner chose for a class, and the variants that might be faster. */
export interface Choice {
  readonly key: string;
  readonly choice: string;
  readonly rivals: readonly Rival[];
}

/** A variant whose best of two runs takes this many times the choice's best is no rival. */
const FAR = 1.3;
/** Where buffers happen to lie can make a variant a tenth faster or slower: data and recordings are made anew so often, each with so many pairs. */
const PREPARATIONS = 3;
const PAIRS = 5;
const RUN_SECONDS = 0.02;

/** Lets a tuner choose for a class, and times its choice against every variant that there is, also those that it does not look at, in pairs. */
export async function measureChoice(gpu: Gpu, need: Need): Promise<Choice> {
  const tuner = new Tuner(gpu, { mode: 'full', store: memoryTuningStore() });
  await tuner.prepare([need]);
  const maker = new WeightMaker(gpu);
  const [choice, all] =
    need.kind === 'linear'
      ? [tuner.linear(need) ?? usualVariant(gpu, need, need.format), linearVariantsFor(gpu, need)]
      : [
          tuner.attention(need) ?? usualAttentionVariant(gpu, { ...need, maxPositions: need.positions }),
          attentionVariantsFor(gpu),
        ];
  const times = new Map(
    all.flatMap(({ name }) => (name === choice ? [] : [[name, { ours: [], theirs: [] } as PairTimes]])),
  );
  try {
    for (let i = 0; i < PREPARATIONS; i++) {
      gpu.memory.trim();
      const variants = [choice, ...times.keys()];
      const work =
        need.kind === 'linear' ? await linearWork({ gpu, maker }, need) : await attentionWork({ gpu }, need, variants);
      try {
        await timePairs((await entrantsOf(gpu, { ...work, variants }, RUN_SECONDS))!.entrants, times);
      } finally {
        work.release();
      }
    }
  } finally {
    maker.release();
  }
  const rivals = [...times].map(([name, { ours, theirs }]): Rival => {
    const { ratio, interval } = pairedRatio(ours, theirs);
    return { name, ratio, interval: interval! };
  });
  return { key: classKey(need), choice, rivals };
}

interface PairTimes {
  readonly ours: number[];
  readonly theirs: number[];
}

/** Times the first entrant beside each of the others, of which those that are far behind are taken out of `times`. */
async function timePairs([choice, ...others]: readonly Entrant[], times: Map<string, PairTimes>): Promise<void> {
  const prepared: PreparedEntrant[] = [];
  const prepare = async (entrant: Entrant) => {
    const one = await entrant.prepare();
    prepared.push(one);
    await one.run();
    return one;
  };
  const time = async (entrant: PreparedEntrant) => {
    const start = performance.now();
    await entrant.run();
    return performance.now() - start;
  };
  try {
    const mine = await prepare(choice!);
    for (const other of others) {
      const theirs = await prepare(other);
      const pair = times.get(other.name)!;
      if (pair.ours.length === 0) {
        const least = Math.min(await time(mine), await time(mine));
        if (Math.min(await time(theirs), await time(theirs)) > FAR * least) {
          times.delete(other.name);
          continue;
        }
      }
      const takes = [async () => pair.ours.push(await time(mine)), async () => pair.theirs.push(await time(theirs))];
      for (let i = 0; i < PAIRS; i++) {
        for (const take of i % 2 === 0 ? takes : takes.toReversed()) await take();
      }
    }
  } finally {
    for (const entrant of prepared) entrant.release();
  }
}
