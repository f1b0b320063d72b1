import broadcast from '../../shaders/layers/attention_broadcast.wgsl';
import split from '../../shaders/layers/attention_split.wgsl';
import thread from '../../shaders/layers/attention_thread.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Kernel } from '../gpu/kernel.ts';
import { suggest } from '../suggest.ts';

/** Threads of a workgroup that is split over keys. */
const WORKGROUP = 64;
/** Queries that it takes at most: shaders/layers/attention_split.wgsl. */
const MOST_QUERIES = 8;
export const MAX_HEAD_DIM = 256;
/** WebGPU's least. */
const WORKGROUP_BYTES = 16 * 1024;

/** An attention's sizes, of which a variant's kernel and grid depend. */
export interface AttentionShape {
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Of the caches. */
  readonly maxPositions: number;
}

/** One way to compute attention; all give the same up to rounding, whatever the cache. */
export interface AttentionVariant {
  readonly name: string;
  /** The subgroups that it needs: of that many lanes or more. 0: none. */
  readonly subgroup: 0 | 8;
  /** Shares of the positions, which another step joins where they are several. */
  readonly splits: number;
  /** Also normalizes, rotates and appends, of one token. */
  readonly fuses: boolean;
  kernel(shape: AttentionShape): Kernel;
  /** Workgroups. */
  grid(shape: AttentionShape): [number, number, number];
}

const quadsOf = (headDim: number) => 2 * Math.ceil(headDim / 8);

/** shaders/layers/attention_split.wgsl: `lanes` threads share a position. */
function splitOf(splits: number, lanes: number): AttentionVariant {
  const queriesOf = ({ heads, kvHeads }: AttentionShape) => Math.min(heads / kvHeads, MOST_QUERIES);
  return {
    name: `split-${splits}-${lanes}`,
    subgroup: 0,
    splits,
    fuses: true,
    kernel: (shape) => {
      const [GROUP, QUADS] = [queriesOf(shape), quadsOf(shape.headDim)];
      const left = WORKGROUP_BYTES - 16 * GROUP * QUADS - 32 * WORKGROUP;
      const most = Math.min(256, left / (4 * GROUP * lanes), 1024 / lanes);
      const TILE = 2 ** Math.floor(Math.log2(most));
      return { source: split, constants: { WORKGROUP, GROUP, LANES: lanes, QUADS, TILE } };
    },
    grid: (shape) => {
      const tiles = Math.ceil(shape.heads / shape.kvHeads / queriesOf(shape));
      return [shape.kvHeads * tiles, splits, shape.tokens];
    },
  };
}

/** Kernels in which a thread owns a query. */
function queriesOf(name: 'thread' | 'broadcast'): AttentionVariant {
  const threadsOf = (headDim: number) => (headDim <= 128 ? 32 : 16);
  return {
    name,
    subgroup: name === 'thread' ? 0 : 8,
    splits: 1,
    fuses: false,
    kernel: ({ headDim }) => ({
      source: name === 'thread' ? thread : broadcast,
      constants: { THREADS: threadsOf(headDim), QUADS: quadsOf(headDim) },
      ...(name === 'broadcast' && { features: ['subgroups'] }),
    }),
    grid: ({ tokens, heads, kvHeads, headDim }) => [
      kvHeads,
      Math.ceil((tokens * (heads / kvHeads)) / threadsOf(headDim)),
      1,
    ],
  };
}

export const attentionVariants: readonly AttentionVariant[] = [
  ...[1, 4, 16, 64].flatMap((splits) => [1, 8].map((lanes) => splitOf(splits, lanes))),
  queriesOf('thread'),
  queriesOf('broadcast'),
];

/** @throws ArgumentError where there is none of that name */
export function findAttentionVariant(name: string): AttentionVariant {
  const variant = attentionVariants.find((one) => one.name === name);
  if (variant) return variant;
  const names = attentionVariants.map((one) => one.name);
  throw new ArgumentError(`attention: no variant "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
}

/** The variants that run on this device. */
export const attentionVariantsFor = (gpu: Gpu): AttentionVariant[] =>
  attentionVariants.filter(({ subgroup }) => subgroup === 0 || gpu.subgroupLanes >= subgroup);

/** Up to so many tokens, their queries are too few for a thread each. */
const FEW_TOKENS = 4;
/** Positions for which a workgroup of a GPU is enough. */
const POSITIONS_A_SPLIT = 256;

/** Shares of the positions of a cache that occupy a GPU. */
export const splitsOf = (tokens: number, maxPositions: number): number =>
  tokens > FEW_TOKENS ? 1 : ([1, 4, 16].find((n) => maxPositions <= n * POSITIONS_A_SPLIT) ?? 64);

/** What serves where nothing was timed: split over keys for few tokens, else a thread a query. */
export function usualAttentionVariant(gpu: Gpu, { tokens, maxPositions }: AttentionShape): string {
  const { software } = gpu.description;
  if (tokens > FEW_TOKENS && gpu.subgroupLanes >= 8) return 'broadcast';
  if (software) return tokens > FEW_TOKENS ? 'thread' : 'split-1-1';
  return `split-${splitsOf(tokens, maxPositions)}-8`;
}

/** The variants that may be the fastest on this device for a shape, the usual one first: few, since each takes seconds to compile on some. */
export function attentionCandidates(gpu: Gpu, shape: AttentionShape): string[] {
  const usual = usualAttentionVariant(gpu, shape);
  const lanes = gpu.description.software ? 1 : 8;
  const all =
    shape.tokens > FEW_TOKENS ? ['broadcast', 'thread'] : [1, 4, 16, 64].map((splits) => `split-${splits}-${lanes}`);
  const possible = attentionVariantsFor(gpu).map(({ name }) => name);
  return [usual, ...all.filter((name) => name !== usual && possible.includes(name))];
}
