import floats from '../../shaders/linear/integer_floats.wgsl';
import matrix from '../../shaders/linear/integer_matrix.wgsl';
import packed from '../../shaders/linear/integer_packed.wgsl';
import vector from '../../shaders/linear/integer_vector.wgsl';
import quantize from '../../shaders/quantize/activations.wgsl';
import { ArgumentError } from '../errors.ts';
import { codeBytes } from '../formats/w8a8.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { LANES } from './linear.ts';
import { type Weight, weightBindings } from './weight.ts';

/** Up to this many tokens the vector kernel runs, which reads a weight once for four of them. */
const VECTOR_TOKENS = 4;
const THREADS = 64;
/** Threads along each side of the matrix kernel's workgroup. */
const SIDE = 8;
/** Rows, and tokens, of a thread in the matrix kernel. */
const TILE = 4;
/** Rows that a thread of the vector kernel owns. */
const VECTOR_ROWS = 4;

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

/** What a product of integers reads and writes. */
export interface IntegerLinearArguments {
  /** Of the weight's `k`. */
  readonly x: IntegerActivations;
  /** In a format with `activations`. */
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows] */
  readonly y: BufferView;
  readonly tokens: number;
  /** Multiplies four int8 at once (`dot4I8Packed`), not as floats: the same sums. Default: as floats, which every device can. */
  readonly packed?: boolean;
  /** Threads that share four rows in the vector kernel: one of `LANES`. Default 32. */
  readonly lanes?: number;
  /** y receives the sums of codes themselves, i32. */
  readonly sums?: boolean;
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) over int8 codes: sums in i32, exact in any order, each multiplied with the scales of its token and its row. One step for
 * each part of the weight. `checkRow` sees to it that no row is so long that a sum could overflow.
 * @throws ArgumentError for sizes, buffers, lanes and weights that do not fit.
 */
export function integerLinearSteps(args: IntegerLinearArguments): Step[] {
  const { x, weight, bias, y, tokens, lanes = 32, sums = false, label = 'linear' } = args;
  const { k, rows: width, format } = weight;
  if (!format.activations) throw new ArgumentError(`${label}: ${format.name} is no format for products of integers.`);
  const words = codeBytes(k) / 4;
  checkSizes(label, { tokens, words });
  checkSizes(label, { tokens, rows: width });
  if (!LANES.includes(lanes)) throw new ArgumentError(`${label}: ${lanes} lanes; choose one of ${LANES.join(', ')}.`);
  const scales = reads(label, 'scales', x.scales, tokens);
  const bindings = [
    reads(label, 'codes', x.codes, tokens * words),
    scales,
    bias ? reads(label, 'bias', bias, width) : scales,
    writes(label, 'y', y, tokens * width),
  ];
  const small = tokens <= VECTOR_TOKENS;
  const source = small ? vector : matrix;
  const constants: Record<string, number> = small ? { LANES: lanes, ONE_TOKEN: Number(tokens === 1) } : {};
  return weight.parts.map((part) => {
    const [gx, gy] = small
      ? grid1d(Math.ceil((part.rows * lanes) / (THREADS * VECTOR_ROWS)))
      : [Math.ceil(part.rows / (SIDE * TILE)), Math.ceil(tokens / (SIDE * TILE))];
    return {
      label,
      kernel: { source, format: args.packed ? packed : floats, constants },
      bindings,
      weight: weightBindings(part).slice(0, 2),
      params: packParams(part.rows, words, tokens, part.rowStart, width, bias ? 1 : 0, sums ? 1 : 0),
      grid: [gx, gy, 1],
      bytes: weight.byteLength * (part.rows / width) + tokens * (4 * words + 4 * part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
