import broadcast from '../../shaders/blocks/broadcast.wgsl';
import tile from '../../shaders/blocks/tile.wgsl';
import vector from '../../shaders/blocks/vector.wgsl';
import { ArgumentError } from '../errors.ts';
import type { BlockLayout } from '../formats/block-layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { grid1d, type ShaderFeature } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { suggest } from '../suggest.ts';

const THREADS = 64;

/** Sizes of a product with some rows of blocks. */
export interface BlockShape {
  readonly blockRows: number;
  readonly tokens: number;
}

/** One way to multiply with a block-sparse weight; all give the same up to rounding. */
export interface BlockVariant {
  readonly name: string;
  /** The subgroups that it needs: of that many lanes or more. 0: none. */
  readonly subgroup: 0 | 8;
  /** Whether it can do with blocks of a size. */
  fits(layout: BlockLayout): boolean;
  /** The shader and the values of its `override`s. */
  kernel(shape: BlockShape): {
    readonly source: ShaderSource;
    readonly constants: Readonly<Record<string, number>>;
    readonly features?: readonly ShaderFeature[];
  };
  /** Workgroups. */
  grid(shape: BlockShape, layout: BlockLayout): [number, number, number];
}

/** shaders/blocks/vector.wgsl: `lanes` threads share a row. */
const vectorOf = (lanes: number): BlockVariant => ({
  name: `vector-${lanes}`,
  subgroup: 0,
  fits: () => true,
  kernel: ({ tokens }) => ({ source: vector, constants: { LANES: lanes, ONE_TOKEN: Number(tokens === 1) } }),
  grid: ({ blockRows, tokens }, { block }) =>
    grid1d(Math.ceil((blockRows * block.rows * lanes) / THREADS) * Math.ceil(tokens / 4)),
});

/** shaders/blocks/tile.wgsl */
const tileOfFour: BlockVariant = {
  name: 'tile-4',
  subgroup: 0,
  fits: ({ block }) => block.rows % 4 === 0,
  kernel: () => ({ source: tile, constants: {} }),
  grid: ({ blockRows, tokens }, { block }) =>
    grid1d(Math.ceil((((blockRows * block.rows) / 4) * Math.ceil(tokens / 4)) / THREADS)),
};

/** shaders/blocks/broadcast.wgsl: a workgroup has 32 rows and `tokens` tokens. */
const broadcastOf = (tokens: number): BlockVariant => ({
  name: `broadcast-${tokens}`,
  subgroup: 8,
  fits: ({ block }) => block.rows % 32 === 0 && block.columns % 16 === 0,
  kernel: () => ({ source: broadcast, constants: { TOKENS: tokens }, features: ['subgroups'] }),
  grid: (shape, { block }) => grid1d(((shape.blockRows * block.rows) / 32) * Math.ceil(shape.tokens / tokens)),
});

/** All of them. Which fit blocks on a device: `blockVariantsFor`. */
export const blockVariants: readonly BlockVariant[] = [
  ...[1, 4, 32].map(vectorOf),
  tileOfFour,
  ...[1, 8, 32].map(broadcastOf),
];

/** The variants that multiply with such blocks on this device. */
export const blockVariantsFor = (gpu: Gpu, layout: BlockLayout): BlockVariant[] =>
  blockVariants.filter(({ subgroup, fits }) => (subgroup === 0 || gpu.subgroupLanes >= subgroup) && fits(layout));

/** A variant by name. @throws ArgumentError where there is none, or it does not fit the blocks */
export function findBlockVariant(label: string, name: string, layout: BlockLayout): BlockVariant {
  const variant = blockVariants.find((one) => one.name === name);
  if (!variant) {
    const names = blockVariants.map((one) => one.name);
    throw new ArgumentError(`${label}: no variant "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
  }
  if (variant.fits(layout)) return variant;
  const { rows, columns } = layout.block;
  throw new ArgumentError(`${label}: ${name} can't multiply with blocks of ${rows} x ${columns}.`);
}

/** What serves where nothing was timed. */
export function usualBlockVariant(gpu: Gpu, tokens: number, layout: BlockLayout): string {
  const { software } = gpu.description;
  const fits = (name: string) => blockVariantsFor(gpu, layout).some((one) => one.name === name);
  const few = [1, 8].find((count) => tokens <= count) ?? 32;
  const wanted = software ? [`broadcast-${few}`, ...(tokens > 4 ? ['tile-4'] : [])] : tokens > 4 ? ['tile-4'] : [];
  return wanted.find(fits) ?? (software ? 'vector-1' : 'vector-32');
}
