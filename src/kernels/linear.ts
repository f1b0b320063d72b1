import { ArgumentError } from '../errors.ts';
import { isSparse } from '../formats/format.ts';
import { shaderConstants } from '../formats/layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { findVariant, halfVariants, linearVariants } from './linear-variants.ts';
import { type Weight, weightBindings } from './weight.ts';

/** What a product with a weight reads and writes. */
export interface LinearArguments {
  /** f32 [tokens, weight.k] */
  readonly x: BufferView;
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows], or as `into` and `gate` say. */
  readonly y: BufferView;
  readonly tokens: number;
  /**
   * The name of one of `linearVariants` that fits the shape and the device (`linearVariantsFor`): `usualVariant` says which where nothing was timed. Default:
   * `vector-32` up to four tokens, else `tile-4`, which run on every device. `half-4` multiplies and sums 32 columns at a time in f16 (feature `shader-f16`);
   * `matrices-8` and `matrices-16` multiply matrices of f16, summed in f32, on devices whose `Gpu.matrixSides` has that side.
   */
  readonly variant?: string;
  /**
   * The lower half of the weight's rows, activated, times the upper half: y is f32 [tokens, weight.rows / 2]. The weight is one part of an even number of rows.
   */
  readonly gate?: 'silu' | 'gelu';
  readonly into?: Columns;
  /** The product is added to what y holds. */
  readonly adds?: boolean;
  readonly label?: string;
}

/** The columns of a wider y that receive a product, from `start` on: y is f32 [tokens, width]. */
export interface Columns {
  readonly start: number;
  readonly width: number;
}

/** Values of GATE in shaders/linear/shared.wgsl. */
export const GATES = { silu: 1, gelu: 2 } as const;

/** Where the columns of a product of `made` columns begin in y, and how wide that is. @throws ArgumentError where they do not fit */
export function columnsOf(label: string, made: number, into: Columns = { start: 0, width: made }): Columns {
  const { start, width } = into;
  if (Number.isInteger(start) && start >= 0 && Number.isInteger(width) && start + made <= width) return into;
  throw new ArgumentError(`${label}: ${made} columns from ${start} on do not fit ${width}.`);
}

/**
 * y = x Wᵀ (+ bias) with the weight in its stored form, gated or added to y where asked for: one step for each part of the weight.
 * Sums run in f32; the order depends on the variant, so results of two variants differ by rounding.
 * @throws ArgumentError for sizes, buffers and variants that do not fit.
 */
export function linearSteps(args: LinearArguments): Step[] {
  const { x, weight, bias, y, tokens, gate, adds = false, label = 'linear' } = args;
  const { k, rows, format } = weight;
  checkSizes(label, { tokens, k });
  if (isSparse(format)) {
    const products = format.packed ? 'sparseLinearSteps' : 'blockLinearSteps';
    throw new ArgumentError(`${label}: a weight in ${format.name} is packed: use ${products} (compressa/sparse).`);
  }
  if (gate && (weight.parts.length > 1 || rows % 2 !== 0)) {
    throw new ArgumentError(
      `${label}: a gate takes a weight of one part and an even number of rows, not ${rows} in ${weight.parts.length}.`,
    );
  }
  const { start, width } = columnsOf(label, gate ? rows / 2 : rows, args.into);
  checkSizes(label, { tokens, width });
  const variant = findVariant(
    label,
    [...linearVariants, ...halfVariants],
    args.variant ?? (tokens <= 4 ? 'vector-32' : 'tile-4'),
    {
      rows,
      k,
      tokens,
    },
  );
  const bindings = [
    reads(label, 'x', x, tokens * k),
    bias ? reads(label, 'bias', bias, rows) : reads(label, 'x', x, 1),
    writes(label, 'y', y, tokens * width),
  ];
  const given = { ...shaderConstants(format, k), ...(gate && { GATE: GATES[gate] }) };
  return weight.parts.map((part) => {
    const shape = { rows: part.rows, k, tokens };
    const { constants, ...kernel } = variant.kernel(shape);
    return {
      label,
      kernel: { ...kernel, format: format.shader, constants: { ...given, ...constants } },
      bindings,
      weight: weightBindings(part),
      params: packParams(part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0, start, adds ? 1 : 0),
      grid: variant.grid(shape),
      bytes: weight.byteLength * (part.rows / rows) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
