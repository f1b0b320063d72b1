import matrix from '../../shaders/linear/matrix.wgsl';
import matrixAny from '../../shaders/linear/matrix_any.wgsl';
import vector from '../../shaders/linear/vector.wgsl';
import vectorAny from '../../shaders/linear/vector_any.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, grid1d, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';
import { type Weight, weightBindings } from './weight.ts';

/** Up to this many tokens the vector kernel runs, which reads a weight once for four of them. */
const VECTOR_TOKENS = 4;
const THREADS = 64;
/** Rows that a thread of the vector kernel owns. */
const VECTOR_ROWS = 2;

export interface LinearArguments {
  /** f32 [tokens, weight.k] */
  readonly x: BufferView;
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows] */
  readonly y: BufferView;
  readonly tokens: number;
  /** Threads that share a pair of rows in the vector kernel: a power of two up to 64. */
  readonly lanes?: number;
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) with the weight in its stored form: one step for each part of the weight.
 * Sums run in f32; the order depends on the variant, so results of two variants differ by rounding.
 * @throws ArgumentError
 */
export function linearSteps(args: LinearArguments): Step[] {
  const { x, weight, bias, y, tokens, lanes = 32, label = 'linear' } = args;
  const { k, rows: width, format } = weight;
  if (!Number.isInteger(tokens) || tokens < 1)
    throw new ArgumentError(`${label}: ${tokens} tokens; at least 1 is needed.`);
  const aligned = k % 4 === 0;
  const small = tokens <= VECTOR_TOKENS;
  const source = small ? (aligned ? vector : vectorAny) : aligned ? matrix : matrixAny;
  const constants = small ? { ...format.constants, LANES: lanes, ONE_TOKEN: Number(tokens === 1) } : format.constants;
  return weight.parts.map((part) => {
    const [gx, gy] = small
      ? grid1d(Math.ceil((part.rows * lanes) / (THREADS * VECTOR_ROWS)))
      : [Math.ceil(part.rows / 32), Math.ceil(tokens / 32)];
    return {
      label,
      kernel: { source, format: format.shader, constants },
      bindings: [read(x), read(bias ?? x), readWrite(y)],
      weight: weightBindings(part),
      params: packParams(part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0),
      grid: [gx, gy, 1],
      bytes: weight.byteLength * (part.rows / width) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
