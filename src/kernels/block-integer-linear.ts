import blockIntegers from '../../shaders/linear/block_integers.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { shaderConstants } from '../formats/layout.ts';
import { type BufferView, gridOf, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import {
  type IntegerActivations,
  type QuantizeActivationsArguments,
  quantizeActivationsStep,
} from './integer-linear.ts';
import { findVariant, type LinearVariant } from './linear-variants.ts';
import { type Weight, weightBindings } from './weight.ts';

/** Columns of a token that share a scale. */
const BLOCK = 32;
const THREADS = 64;

/** shaders/linear/block_integers.wgsl: `lanes` threads share four rows and four tokens. */
const blocksOf = (lanes: number): LinearVariant => ({
  name: `blocks-${lanes}`,
  mostTokens: Number.POSITIVE_INFINITY,
  multiple: 4,
  subgroup: 0,
  kernel: () => ({ source: blockIntegers, constants: { LANES: lanes } }),
  grid: ({ rows, tokens }) => gridOf(Math.ceil((rows * lanes) / (THREADS * 4)), Math.ceil(tokens / 4)),
});

/** Ways to multiply with `blockIntegerLinearSteps`. */
export const blockIntegerVariants: readonly LinearVariant[] = [1, 4, 16, 32, 64].map(blocksOf);

/** The shaders of formats whose codes fit int8, less the one in the middle. */
const SHADERS: readonly string[] = ['formats/int4', 'formats/int8'];

/** Whether a weight in the format can be multiplied by `blockIntegerLinearSteps`: q4_0, q8_0, and int4 and int8 without zero points. */
export const takesBlockIntegers = (format: Format, k: number): boolean =>
  SHADERS.includes(format.shader.name) && k % BLOCK === 0;

/**
 * Activations as int8 codes with a scale for each token and 32 columns: codes int8 [tokens, k], scales f32 [tokens, k / 32].
 * @throws ArgumentError for sizes and buffers that do not fit.
 */
export function quantizeBlocksStep({
  tokens,
  k,
  threads = 8,
  ...rest
}: Omit<QuantizeActivationsArguments, 'scale'>): Step {
  if (k % BLOCK !== 0) throw new ArgumentError(`${rest.label ?? 'quantize activations'}: ${k} is no multiple of 32.`);
  return quantizeActivationsStep({ ...rest, tokens: tokens * (k / BLOCK), k: BLOCK, threads });
}

/** What such a product reads and writes. */
export interface BlockIntegerLinearArguments {
  /** As `quantizeBlocksStep` leaves it. */
  readonly x: IntegerActivations;
  /** One that `takesBlockIntegers`. */
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows] */
  readonly y: BufferView;
  readonly tokens: number;
  /** The name of one of `blockIntegerVariants`. Default: `blocks-32` up to four tokens, else `blocks-4`. */
  readonly variant?: string;
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) with four products of int8 in one instruction (`dot4I8Packed`), for those who accept that activations are rounded to eight bits, as
 * accuracy level 4 of ONNX Runtime's MatMulNBits does. `SelfTest.multipliesPacked` says whether the device does that right. What it costs:
 * `npm run claims -- block-integers`.
 * @throws ArgumentError for sizes, buffers, variants and weights that do not fit.
 */
export function blockIntegerLinearSteps(args: BlockIntegerLinearArguments): Step[] {
  const { x, weight, bias, y, tokens, label = 'linear' } = args;
  const { k, rows: width, format } = weight;
  if (!takesBlockIntegers(format, k)) {
    throw new ArgumentError(
      `${label}: rows of ${k} weights in ${format.name} are not for products of integers: take q4_0, q8_0, or int4 or int8 without zero points, in multiples of 32.`,
    );
  }
  checkSizes(label, { tokens, k });
  checkSizes(label, { tokens, rows: width });
  const name = args.variant ?? (tokens <= 4 ? 'blocks-32' : 'blocks-4');
  const variant = findVariant(label, blockIntegerVariants, name, { rows: width, k, tokens });
  const scales = reads(label, 'scales', x.scales, tokens * (k / BLOCK));
  const bindings = [
    reads(label, 'codes', x.codes, tokens * (k / 4)),
    scales,
    bias ? reads(label, 'bias', bias, width) : scales,
    writes(label, 'y', y, tokens * width),
  ];
  const given = shaderConstants(format, k);
  return weight.parts.map((part) => {
    const shape = { rows: part.rows, k, tokens };
    const { source, constants } = variant.kernel(shape);
    return {
      label,
      kernel: { source, format: format.shader, constants: { ...given, ...constants } },
      bindings,
      weight: weightBindings(part),
      params: packParams(part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0),
      grid: variant.grid(shape),
      bytes: weight.byteLength * (part.rows / width) + tokens * (k + k / 8 + 4 * part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
