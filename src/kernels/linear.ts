import matrix from '../../shaders/linear/matrix.wgsl';
import matrixAny from '../../shaders/linear/matrix_any.wgsl';
import matrixWide from '../../shaders/linear/matrix_wide.wgsl';
import matrixWideAny from '../../shaders/linear/matrix_wide_any.wgsl';
import vector from '../../shaders/linear/vector.wgsl';
import vectorAny from '../../shaders/linear/vector_any.wgsl';
import { ArgumentError } from '../errors.ts';
import { shaderConstants } from '../formats/layout.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Weight, weightBindings } from './weight.ts';

/** Up to this many tokens the vector kernel runs, which reads a weight once for four of them. */
const VECTOR_TOKENS = 4;
const THREADS = 64;
/** Threads that may share rows: a tree adds their sums. */
export const LANES: readonly number[] = [1, 2, 4, 8, 16, 32, 64];
/** Rows, and tokens, that a thread of the matrix kernel may own. */
export const TILES = [4, 8] as const;
/** Threads along each side of the matrix kernel's workgroup. */
const SIDE = 8;
/** Rows that a thread of the vector kernel owns. */
const VECTOR_ROWS = 2;

/** What a product with a weight reads and writes. */
export interface LinearArguments {
  /** f32 [tokens, weight.k] */
  readonly x: BufferView;
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows] */
  readonly y: BufferView;
  readonly tokens: number;
  /** Threads that share a pair of rows in the vector kernel: one of `LANES`. Default 32. */
  readonly lanes?: number;
  /** Rows, and tokens, of a thread in the matrix kernel: 8 where loads cost more than registers. Default 4. */
  readonly tile?: (typeof TILES)[number];
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) with the weight in its stored form: one step for each part of the weight.
 * Sums run in f32; the order depends on the variant, so results of two variants differ by rounding.
 * @throws ArgumentError for sizes, buffers and lanes that do not fit.
 */
export function linearSteps(args: LinearArguments): Step[] {
  const { x, weight, bias, y, tokens, lanes = 32, tile = 4, label = 'linear' } = args;
  const { k, rows: width, format } = weight;
  checkSizes(label, { tokens, k });
  checkSizes(label, { tokens, rows: width });
  if (!LANES.includes(lanes)) throw new ArgumentError(`${label}: ${lanes} lanes; choose one of ${LANES.join(', ')}.`);
  if (!TILES.includes(tile)) throw new ArgumentError(`${label}: a tile of ${tile}; choose one of ${TILES.join(', ')}.`);
  const bindings = [
    reads(label, 'x', x, tokens * k),
    bias ? reads(label, 'bias', bias, width) : reads(label, 'x', x, 1),
    writes(label, 'y', y, tokens * width),
  ];
  const aligned = k % 4 === 0;
  const small = tokens <= VECTOR_TOKENS;
  const [whole, any] = small ? [vector, vectorAny] : tile === 8 ? [matrixWide, matrixWideAny] : [matrix, matrixAny];
  const source = aligned ? whole : any;
  const given = shaderConstants(format, k);
  const constants = small ? { ...given, LANES: lanes, ONE_TOKEN: Number(tokens === 1) } : given;
  return weight.parts.map((part) => {
    const [gx, gy] = small
      ? grid1d(Math.ceil((part.rows * lanes) / (THREADS * VECTOR_ROWS)))
      : [Math.ceil(part.rows / (SIDE * tile)), Math.ceil(tokens / (SIDE * tile))];
    return {
      label,
      kernel: { source, format: format.shader, constants },
      bindings,
      weight: weightBindings(part),
      params: packParams(part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0),
      grid: [gx, gy, 1],
      bytes: weight.byteLength * (part.rows / width) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
