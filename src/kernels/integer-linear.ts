import broadcast from '../../shaders/linear/integer_broadcast.wgsl';
import broadcastAny from '../../shaders/linear/integer_broadcast_any.wgsl';
import floats from '../../shaders/linear/integer_floats.wgsl';
import matrix from '../../shaders/linear/integer_matrix.wgsl';
import packed from '../../shaders/linear/integer_packed.wgsl';
import vector from '../../shaders/linear/integer_vector.wgsl';
import quantize from '../../shaders/quantize/activations.wgsl';
import { ArgumentError } from '../errors.ts';
import { codeBytes } from '../formats/w8a8.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { type BufferView, grid1d, gridOf, type Kernel, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Columns, columnsOf } from './linear.ts';
import { findVariant, type LinearShape, type LinearVariant } from './linear-variants.ts';
import { type Weight, weightBindings } from './weight.ts';

const THREADS = 64;

/** shaders/linear/integer_vector.wgsl: `lanes` threads share four rows. */
const vectorOf = (lanes: number): LinearVariant => ({
  name: `vector-${lanes}`,
  mostTokens: 4,
  multiple: 1,
  subgroup: 0,
  kernel: ({ tokens }) => ({ source: vector, constants: { LANES: lanes, ONE_TOKEN: Number(tokens === 1) } }),
  grid: ({ rows }) => grid1d(Math.ceil((rows * lanes) / (THREADS * 4))),
});

/** shaders/linear/integer_matrix.wgsl: a thread owns four rows and four tokens. */
const tile: LinearVariant = {
  name: 'tile-4',
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 1,
  subgroup: 0,
  kernel: () => ({ source: matrix, constants: {} }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil(rows / 32), Math.ceil(tokens / 32)),
};

/** shaders/linear/integer_broadcast_body.wgsl: a thread owns four rows and `tokens` tokens. */
const broadcastOf = (tokens: number): LinearVariant => ({
  name: `broadcast-${tokens}`,
  wide: tokens,
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 1,
  subgroup: 8,
  kernel: ({ k }) => ({
    source: (codeBytes(k) / 4) % 4 === 0 ? broadcast : broadcastAny,
    constants: { TOKENS: tokens },
    features: ['subgroups'],
  }),
  grid: (shape) => grid1d(Math.ceil(shape.rows / (4 * THREADS)) * Math.ceil(shape.tokens / tokens)),
});

/** Ways to multiply integers: all give the same sums. */
export const integerVariants: readonly LinearVariant[] = [
  ...[1, 2, 4, 8, 16, 32, 64].map(vectorOf),
  tile,
  ...[1, 2, 4, 8, 16].map(broadcastOf),
];

/** What serves where nothing was timed. */
export function usualIntegerVariant(gpu: Gpu, { tokens }: LinearShape): string {
  const { software } = gpu.description;
  if (software && gpu.subgroupLanes >= 8) return `broadcast-${[1, 2, 4, 8].find((most) => tokens <= most) ?? 16}`;
  if (tokens > 4) return 'tile-4';
  return software ? 'vector-1' : 'vector-32';
}

/** Activations in int8. */
export interface IntegerActivations {
  /** int8 [tokens, k], each row padded with zeros to whole words: `codeBytes(k)` bytes. */
  readonly codes: BufferView;
  /** f32 [tokens]: x = scale · code. */
  readonly scales: BufferView;
}

/** What quantizing activations reads and writes. */
export interface QuantizeActivationsArguments {
  /** f32 [tokens, k] */
  readonly x: BufferView;
  readonly to: IntegerActivations;
  readonly tokens: number;
  readonly k: number;
  /** f32 [1]: the scale of every token. Default: measured for each, max|x| / 127. */
  readonly scale?: BufferView;
  /** Threads that share a token: a power of two up to 256. Default 64. */
  readonly threads?: number;
  readonly label?: string;
}

/**
 * Activations as int8 codes with a scale for each token: bit for bit what `quantizeRow` (formats/w8a8.ts) makes of the same x. A token that
 * holds NaN or infinity gets the scale NaN.
 * @throws ArgumentError for sizes and buffers that do not fit.
 */
export function quantizeActivationsStep(args: QuantizeActivationsArguments): Step {
  const { x, to, tokens, k, scale, threads = 64, label = 'quantize activations' } = args;
  checkSizes(label, { tokens, k });
  const words = codeBytes(k) / 4;
  return {
    label,
    kernel: { source: quantize, constants: { WORKGROUP: threads, GIVEN: Number(scale !== undefined) } },
    bindings: [
      reads(label, 'x', x, tokens * k),
      scale ? reads(label, 'scale', scale, 1) : reads(label, 'x', x, 1),
      writes(label, 'codes', to.codes, tokens * words),
      writes(label, 'scales', to.scales, tokens),
    ],
    params: packParams(tokens, k),
    grid: grid1d(tokens),
    bytes: 4 * tokens * (k + words + 1),
  };
}

/** What a variant runs: products of four int8 at once, or of floats. */
export const integerKernel = (variant: LinearVariant, shape: LinearShape, isPacked = false): Kernel => ({
  ...variant.kernel(shape),
  format: isPacked ? packed : floats,
});

/** Whether a device multiplies four int8 at once, and gains by it: what computes on a CPU multiplies floats faster. */
export const multipliesPacked = (gpu: Gpu): boolean =>
  !gpu.description.software && gpu.selfTest?.multipliesPacked === true;

/** What a product of integers reads and writes. */
export interface IntegerLinearArguments {
  /** Of the weight's `k`. */
  readonly x: IntegerActivations;
  /** In a format with `activations`. */
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows], or as `into` says. */
  readonly y: BufferView;
  readonly tokens: number;
  readonly into?: Columns;
  /** The product is added to what y holds. */
  readonly adds?: boolean;
  /** Multiplies four int8 at once (`dot4I8Packed`), not as floats: the same sums. Default: as floats, which every device can. */
  readonly packed?: boolean;
  /**
   * The name of one of `integerVariants` that fits the tokens and the device: `usualIntegerVariant` says which where nothing was timed. Default: `vector-32` up
   * to four tokens, else `tile-4`, which run on every device.
   */
  readonly variant?: string;
  /** y receives the sums of codes themselves, i32. */
  readonly sums?: boolean;
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) over int8 codes: sums in i32, exact in any order, each multiplied with the scales of its token and its row. One step for
 * each part of the weight. `checkRow` sees to it that no row is so long that a sum could overflow.
 * @throws ArgumentError for sizes, buffers, variants and weights that do not fit.
 */
export function integerLinearSteps(args: IntegerLinearArguments): Step[] {
  const { x, weight, bias, y, tokens, adds = false, sums = false, label = 'linear' } = args;
  const { k, rows, format } = weight;
  if (!format.activations) throw new ArgumentError(`${label}: ${format.name} is no format for products of integers.`);
  const words = codeBytes(k) / 4;
  checkSizes(label, { tokens, words });
  const { start, width } = columnsOf(label, rows, args.into);
  checkSizes(label, { tokens, width });
  const variant = findVariant(label, integerVariants, args.variant ?? (tokens <= 4 ? 'vector-32' : 'tile-4'), {
    rows,
    k,
    tokens,
  });
  const scales = reads(label, 'scales', x.scales, tokens);
  const bindings = [
    reads(label, 'codes', x.codes, tokens * words),
    scales,
    bias ? reads(label, 'bias', bias, rows) : scales,
    writes(label, 'y', y, tokens * width),
  ];
  return weight.parts.map((part) => {
    const shape = { rows: part.rows, k, tokens };
    return {
      label,
      kernel: integerKernel(variant, shape, args.packed),
      bindings,
      weight: weightBindings(part).slice(0, 2),
      params: packParams(
        ...[part.rows, words, tokens, part.rowStart, width],
        ...[bias ? 1 : 0, sums ? 1 : 0, start, adds ? 1 : 0],
      ),
      grid: variant.grid(shape),
      bytes: weight.byteLength * (part.rows / rows) + tokens * (4 * words + 4 * part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
