import { shaderConstants } from '../formats/layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { findVariant, linearVariants } from './linear-variants.ts';
import { type Weight, weightBindings } from './weight.ts';

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
  /**
   * The name of one of `linearVariants` that fits the shape and the device (`linearVariantsFor`): `usualVariant` says which where nothing was timed. Default:
   * `vector-32` up to four tokens, else `tile-4`, which run on every device.
   */
  readonly variant?: string;
  readonly label?: string;
}

/**
 * y = x Wᵀ (+ bias) with the weight in its stored form: one step for each part of the weight.
 * Sums run in f32; the order depends on the variant, so results of two variants differ by rounding.
 * @throws ArgumentError for sizes, buffers and variants that do not fit.
 */
export function linearSteps(args: LinearArguments): Step[] {
  const { x, weight, bias, y, tokens, label = 'linear' } = args;
  const { k, rows: width, format } = weight;
  checkSizes(label, { tokens, k });
  checkSizes(label, { tokens, rows: width });
  const variant = findVariant(label, linearVariants, args.variant ?? (tokens <= 4 ? 'vector-32' : 'tile-4'), {
    rows: width,
    k,
    tokens,
  });
  const bindings = [
    reads(label, 'x', x, tokens * k),
    bias ? reads(label, 'bias', bias, width) : reads(label, 'x', x, 1),
    writes(label, 'y', y, tokens * width),
  ];
  const given = shaderConstants(format, k);
  return weight.parts.map((part) => {
    const shape = { rows: part.rows, k, tokens };
    const { constants, ...kernel } = variant.kernel(shape);
    return {
      label,
      kernel: { ...kernel, format: format.shader, constants: { ...given, ...constants } },
      bindings,
      weight: weightBindings(part),
      params: packParams(part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0),
      grid: variant.grid(shape),
      bytes: weight.byteLength * (part.rows / width) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * k * part.rows,
    };
  });
}
