import broadcast from '../../shaders/linear/broadcast.wgsl';
import half from '../../shaders/linear/half.wgsl';
import halfAny from '../../shaders/linear/half_any.wgsl';
import matrix from '../../shaders/linear/matrix.wgsl';
import matrixAny from '../../shaders/linear/matrix_any.wgsl';
import matrixWide from '../../shaders/linear/matrix_wide.wgsl';
import matrixWideAny from '../../shaders/linear/matrix_wide_any.wgsl';
import sliced from '../../shaders/linear/sliced.wgsl';
import slicedAny from '../../shaders/linear/sliced_any.wgsl';
import staged from '../../shaders/linear/staged.wgsl';
import stagedAny from '../../shaders/linear/staged_any.wgsl';
import subgroup from '../../shaders/linear/subgroup.wgsl';
import subgroupAny from '../../shaders/linear/subgroup_any.wgsl';
import matrices8 from '../../shaders/linear/subgroup_matrix_8.wgsl';
import matrices8Any from '../../shaders/linear/subgroup_matrix_8_any.wgsl';
import matrices16 from '../../shaders/linear/subgroup_matrix_16.wgsl';
import matrices16Any from '../../shaders/linear/subgroup_matrix_16_any.wgsl';
import vector from '../../shaders/linear/vector.wgsl';
import vectorAny from '../../shaders/linear/vector_any.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { grid1d, gridOf, type ShaderFeature } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { suggest } from '../suggest.ts';

const THREADS = 64;

/** A product's sizes, of which a variant's kernel and grid depend. */
export interface LinearShape {
  readonly rows: number;
  readonly k: number;
  readonly tokens: number;
}

/** One way to multiply with a weight; all of `linearVariants` give the same up to rounding, whatever the format. */
export interface LinearVariant {
  readonly name: string;
  /** Tokens that it is for: with more, it would be wrong. */
  readonly mostTokens: number;
  /** What k has to be a multiple of. */
  readonly multiple: 1 | 4;
  /** The subgroups that it needs: of that many lanes or more. 0: none. */
  readonly subgroup: 0 | 8;
  /** Threads that share rows, where they do. */
  readonly lanes?: number;
  /** Tokens that a thread owns, where it computes as many whether there are or not: half as many or fewer, and a narrower variant has less to do. */
  readonly wide?: number;
  /** Its threads wait for each other inside the loop: not worth a try where they run one after another, on CPUs. */
  readonly waits?: true;
  /** The shader and the values of its `override`s. */
  kernel(shape: LinearShape): {
    readonly source: ShaderSource;
    readonly constants: Readonly<Record<string, number>>;
    readonly features?: readonly ShaderFeature[];
  };
  /** Workgroups. */
  grid(shape: LinearShape): [number, number, number];
}

/** shaders/linear/vector_tree.wgsl: `lanes` threads share two rows. */
function vectorOf(lanes: number): LinearVariant {
  return {
    name: `vector-${lanes}`,
    lanes,
    mostTokens: 4,
    multiple: 1,
    subgroup: 0,
    kernel: ({ k, tokens }) => ({
      source: k % 4 === 0 ? vector : vectorAny,
      constants: { LANES: lanes, ONE_TOKEN: Number(tokens === 1) },
    }),
    grid: ({ rows }) => grid1d(Math.ceil((rows * lanes) / (THREADS * 2))),
  };
}

/** shaders/linear/vector_subgroup.wgsl: a workgroup of `threads` shares two rows. */
function subgroupOf(threads: number): LinearVariant {
  return {
    name: `subgroup-${threads}`,
    lanes: threads,
    mostTokens: 4,
    multiple: 1,
    subgroup: 8,
    kernel: ({ k, tokens }) => ({
      source: k % 4 === 0 ? subgroup : subgroupAny,
      constants: { LANES: threads, ONE_TOKEN: Number(tokens === 1) },
      features: ['subgroups'],
    }),
    grid: ({ rows }) => grid1d(Math.ceil(rows / 2)),
  };
}

/** shaders/linear/matrix_body.wgsl and matrix_wide_body.wgsl: a thread owns `tile` rows and as many tokens. */
function tileOf(tile: number, aligned: ShaderSource, any: ShaderSource): LinearVariant {
  return {
    name: `tile-${tile}`,
    mostTokens: Number.POSITIVE_INFINITY,
    multiple: 1,
    subgroup: 0,
    kernel: ({ k }) => ({ source: k % 4 === 0 ? aligned : any, constants: {} }),
    grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / (8 * tile)), Math.ceil(tokens / (8 * tile))),
  };
}

/** shaders/linear/broadcast_body.wgsl: a thread owns four rows and `tokens` tokens. */
function broadcastOf(tokens: number): LinearVariant {
  return {
    name: `broadcast-${tokens}`,
    wide: tokens,
    mostTokens: Number.POSITIVE_INFINITY,
    multiple: 4,
    subgroup: 8,
    kernel: () => ({ source: broadcast, constants: { TOKENS: tokens }, features: ['subgroups'] }),
    grid: (shape) => grid1d(Math.ceil(shape.rows / (4 * THREADS)) * Math.ceil(shape.tokens / tokens)),
  };
}

/** shaders/linear/staged_body.wgsl: a workgroup shares `64 * halves` rows and as many tokens. */
function stagedOf(halves: 1 | 2): LinearVariant {
  const side = 64 * halves;
  return {
    name: `staged-${side}`,
    mostTokens: Number.POSITIVE_INFINITY,
    multiple: 1,
    subgroup: 0,
    waits: true,
    kernel: ({ k }) => ({ source: k % 4 === 0 ? staged : stagedAny, constants: { HALVES: halves } }),
    grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / side), Math.ceil(tokens / side)),
  };
}

/** shaders/linear/sliced_body.wgsl: eight slices of a workgroup share the columns of 32 rows and 16 tokens. */
const slicedColumns: LinearVariant = {
  name: 'sliced-8',
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 1,
  subgroup: 0,
  kernel: ({ k }) => ({ source: k % 4 === 0 ? sliced : slicedAny, constants: {} }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / 32), Math.ceil(tokens / 16)),
};

/** shaders/linear/half_body.wgsl: its sums have the precision of f16. */
const halfTile: LinearVariant = {
  name: 'half-4',
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 1,
  subgroup: 0,
  kernel: ({ k }) => ({ source: k % 4 === 0 ? half : halfAny, constants: {}, features: ['f16'] }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / 32), Math.ceil(tokens / 32)),
};

/** shaders/linear/subgroup_matrix_body.wgsl: operands have the precision of f16. */
const matricesOf = (side: number, aligned: ShaderSource, any: ShaderSource): LinearVariant => ({
  name: `matrices-${side}`,
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 1,
  subgroup: 8,
  waits: true,
  kernel: ({ k }) => ({
    source: k % 4 === 0 ? aligned : any,
    constants: {},
    features: ['f16', 'subgroups', 'subgroup-matrix'],
  }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / (4 * side)), Math.ceil(tokens / (4 * side))),
});

/** Only where they are asked for by name, since they have the precision of f16 somewhere. */
export const halfVariants: readonly LinearVariant[] = [
  halfTile,
  matricesOf(8, matrices8, matrices8Any),
  matricesOf(16, matrices16, matrices16Any),
];

/** Which of them serves: units that multiply matrices, where the device has some. */
export function usualHalfVariant(gpu: Gpu): string {
  const side = gpu.matrixSides.find((one) => halfVariants.some(({ name }) => name === `matrices-${one}`));
  return side === undefined || gpu.description.software ? halfTile.name : `matrices-${side}`;
}

/** All of them but those that sum in f16. Which fit a shape on a device: `linearVariantsFor`. */
export const linearVariants: readonly LinearVariant[] = [
  ...[1, 2, 4, 8, 16, 32, 64].map(vectorOf),
  ...[32, 64, 256].map(subgroupOf),
  tileOf(4, matrix, matrixAny),
  tileOf(8, matrixWide, matrixWideAny),
  ...([1, 2] as const).map(stagedOf),
  slicedColumns,
  ...[1, 2, 4, 8, 16, 32].map(broadcastOf),
];

/**
 * A variant by name.
 * @throws ArgumentError where there is none, or it does not fit the shape.
 */
export function findVariant(
  label: string,
  variants: readonly LinearVariant[],
  name: string,
  { k, tokens }: LinearShape,
): LinearVariant {
  const variant = variants.find((one) => one.name === name);
  if (!variant) {
    const names = variants.map((one) => one.name);
    throw new ArgumentError(`${label}: no variant "${name}".${suggest(name, names)} There are: ${names.join(', ')}.`);
  }
  if (tokens > variant.mostTokens) {
    throw new ArgumentError(`${label}: ${name} takes up to ${variant.mostTokens} tokens, not ${tokens}.`);
  }
  if (k % variant.multiple !== 0) {
    throw new ArgumentError(`${label}: ${name} takes rows of multiples of ${variant.multiple} weights, not ${k}.`);
  }
  return variant;
}

/** The variants, of `linearVariants` or others, that compute a product of such a shape on this device. */
export function linearVariantsFor(
  gpu: Gpu,
  { k, tokens }: LinearShape,
  variants: readonly LinearVariant[] = linearVariants,
): LinearVariant[] {
  return variants.filter(
    ({ mostTokens, multiple, subgroup }) =>
      tokens <= mostTokens && k % multiple === 0 && (subgroup === 0 || gpu.subgroupLanes >= subgroup),
  );
}

/** Those of them that may be the fastest. */
export const linearCandidates = (
  gpu: Gpu,
  shape: LinearShape,
  variants: readonly LinearVariant[] = linearVariants,
): LinearVariant[] =>
  linearVariantsFor(gpu, shape, variants).filter(
    ({ waits, wide = 1 }) => !(waits && gpu.description.software) && (wide === 1 || wide < 2 * shape.tokens),
  );

/** Tokens from which on a tile of 64 rows and tokens in workgroup memory is at least half full. */
const STAGED_FROM = 32;

/**
 * What serves where nothing was timed: on a CPU, where loads cost most, tokens that are broadcast, as many as there are where weights are not packed; else
 * threads that share rows, and for many tokens tiles in workgroup memory.
 */
export function usualVariant(gpu: Gpu, { rows, k, tokens }: LinearShape, format?: Format): string {
  if (gpu.description.software && gpu.subgroupLanes >= 8 && k % 4 === 0) {
    const most = format?.kind === 'dense' ? 32 : 8;
    return `broadcast-${[1, 2, 4, 8, 16].find((count) => tokens <= count && count < most) ?? most}`;
  }
  if (gpu.description.software) return tokens <= 4 ? 'vector-1' : 'tile-8';
  if (tokens <= 4) return 'vector-32';
  return tokens >= STAGED_FROM && rows >= STAGED_FROM ? 'staged-64' : 'tile-4';
}
