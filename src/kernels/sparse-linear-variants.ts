import bandBroadcast from '../../shaders/sparse/band_broadcast.wgsl';
import bandTile from '../../shaders/sparse/band_tile.wgsl';
import shuffle from '../../shaders/sparse/shuffle.wgsl';
import vector from '../../shaders/sparse/vector.wgsl';
import { ArgumentError } from '../errors.ts';
import type { SparseLayout } from '../formats/packed-layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { grid1d, gridOf, type ShaderFeature } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { suggest } from '../suggest.ts';
import type { LinearShape } from './linear-variants.ts';

const THREADS = 64;

/** One way to multiply with a packed weight; all give the same up to rounding. */
export interface SparseVariant {
  readonly name: string;
  /** The subgroups that it needs: of that many lanes or more. 0: none. */
  readonly subgroup: 0 | 8;
  /** Whether it can do with a pattern. */
  fits(layout: SparseLayout): boolean;
  /** What it runs, without what layout and format add. */
  kernel(shape: LinearShape): {
    readonly source: ShaderSource;
    readonly constants: Readonly<Record<string, number>>;
    readonly features?: readonly ShaderFeature[];
  };
  /** Workgroups. */
  grid(shape: LinearShape, layout: SparseLayout): [number, number, number];
}

/** shaders/sparse/vector.wgsl: `lanes` threads share a row. */
const vectorOf = (lanes: number): SparseVariant => ({
  name: `vector-${lanes}`,
  subgroup: 0,
  fits: () => true,
  kernel: ({ tokens }) => ({ source: vector, constants: { LANES: lanes, ONE_TOKEN: Number(tokens === 1) } }),
  grid: ({ rows, tokens }) => grid1d(Math.ceil((rows * lanes) / THREADS) * Math.ceil(tokens / 4)),
});

/** shaders/sparse/shuffle.wgsl: a thread owns `rows` rows and `tokens` tokens. */
const shuffleOf = ([rows, tokens]: readonly [number, number]): SparseVariant => ({
  name: `shuffle-${rows}-${tokens}`,
  subgroup: 8,
  fits: ({ keep, of }) => 8 % of === 0 && 8 % keep === 0,
  kernel: () => ({ source: shuffle, constants: { ROWS: rows, TOKENS: tokens }, features: ['subgroups'] }),
  grid: (shape) => grid1d(Math.ceil(shape.rows / (rows * THREADS)) * Math.ceil(shape.tokens / tokens)),
});

/** shaders/sparse/band_tile.wgsl */
const tile: SparseVariant = {
  name: 'band-tile-4',
  subgroup: 0,
  fits: ({ band }) => band >= 4,
  kernel: () => ({ source: bandTile, constants: {} }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / 32), Math.ceil(tokens / 32)),
};

/** shaders/sparse/band_broadcast.wgsl: a workgroup of `threads` has a band, and each of its threads `tokens` tokens. */
const broadcastOf = (threads: number, tokens: number): SparseVariant => ({
  name: `band-broadcast-${threads}-${tokens}`,
  subgroup: 8,
  fits: ({ band }) => band >= 4,
  kernel: () => ({ source: bandBroadcast, constants: { THREADS: threads, TOKENS: tokens }, features: ['subgroups'] }),
  grid: (shape, { band }) => grid1d(Math.ceil(shape.rows / band) * Math.ceil(shape.tokens / (threads * tokens))),
});

/** All of them. Which fit a pattern on a device: `sparseVariantsFor`. */
export const sparseVariants: readonly SparseVariant[] = [
  ...[1, 4, 32].map(vectorOf),
  ...(
    [
      [1, 1],
      [2, 1],
      [1, 2],
      [1, 4],
    ] as const
  ).map(shuffleOf),
  tile,
  ...[1, 2].flatMap((tokens) => [broadcastOf(8, tokens), broadcastOf(64, tokens)]),
];

/** The variants that multiply with a pattern on this device. */
export const sparseVariantsFor = (gpu: Gpu, layout: SparseLayout): SparseVariant[] =>
  sparseVariants.filter(({ subgroup, fits }) => (subgroup === 0 || gpu.subgroupLanes >= subgroup) && fits(layout));

/** A variant by name. @throws ArgumentError where there is none, or it does not fit the pattern */
export function findSparseVariant(label: string, name: string, layout: SparseLayout): SparseVariant {
  const variant = sparseVariants.find((one) => one.name === name);
  if (!variant) {
    const names = sparseVariants.map((one) => one.name);
    throw new ArgumentError(`${label}: no variant "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
  }
  if (variant.fits(layout)) return variant;
  const { keep, of, band } = layout;
  const rows = band === 1 ? '' : ` shared by ${band} rows`;
  throw new ArgumentError(`${label}: ${name} can't multiply with ${keep}:${of}${rows}.`);
}

/** What serves where nothing was timed. */
export function usualSparseVariant(gpu: Gpu, { tokens }: { readonly tokens: number }, layout: SparseLayout): string {
  const fits = (name: string) => sparseVariantsFor(gpu, layout).some((one) => one.name === name);
  const software = gpu.description.software;
  const wanted = software
    ? tokens <= 4
      ? [`shuffle-1-${tokens === 3 ? 4 : tokens}`]
      : ['band-broadcast-8-1', 'shuffle-1-4', 'band-tile-4']
    : tokens <= 4
      ? []
      : ['band-tile-4'];
  return wanted.find(fits) ?? (software ? 'vector-1' : 'vector-32');
}
