import { ArgumentError } from '../errors.ts';
import { arrayBytes, shaderConstants } from '../formats/layout.ts';
import { type BufferView, packParams, read, type Step } from '../gpu/kernel.ts';
import { bindArray } from './bind-arrays.ts';
import { findBlockVariant } from './block-linear-variants.ts';
import type { BlockWeight } from './block-weight.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Columns, columnsOf } from './linear.ts';

/** What a product with a block-sparse weight reads and writes. */
export interface BlockLinearArguments {
  /** f32 [tokens, weight.k] */
  readonly x: BufferView;
  readonly weight: BlockWeight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows], or as `into` says. */
  readonly y: BufferView;
  readonly tokens: number;
  /** The name of one of `blockVariants` that fits blocks and device (`blockVariantsFor`). Default: `vector-32`, which runs with all on all. */
  readonly variant?: string;
  readonly into?: Columns;
  /** The product is added to what y holds. */
  readonly adds?: boolean;
  readonly label?: string;
}

/** WebGPU's limit of storage buffers, less those of x, lists, bias and y. */
const MOST_ARRAYS = 4;

/**
 * y = x Wᵀ (+ bias) with a block-sparse weight: what is not there is neither read nor multiplied. One step for each part. Sums run in f32; the order depends on the
 * variant.
 * @throws ArgumentError for sizes, buffers and variants that do not fit, and for values in formats of more than four arrays
 */
export function blockLinearSteps(args: BlockLinearArguments): Step[] {
  const { x, weight, bias, y, tokens, adds = false, label = 'block linear' } = args;
  const { k, rows, layout, format } = weight;
  const { block, slots, width: blockWidth } = layout;
  checkSizes(label, { tokens, k });
  if (format.arrays.length > MOST_ARRAYS) {
    throw new ArgumentError(`${label}: values in ${format.name} take more arrays than a kernel can bind.`);
  }
  const { start, width } = columnsOf(label, rows, args.into);
  checkSizes(label, { tokens, width });
  const variant = findBlockVariant(label, args.variant ?? 'vector-32', layout);
  const given = {
    ...shaderConstants(format, slots),
    ...{ BLOCK_ROWS: block.rows, BLOCK_COLUMNS: block.columns, WIDTH: blockWidth },
    EVEN: Number(k % 4 === 0 && block.columns % 4 === 0),
  };
  return weight.parts.map((part) => {
    const shape = { blockRows: part.blockRows, tokens };
    const { constants, ...kernel } = variant.kernel(shape);
    return {
      label,
      kernel: { ...kernel, format: format.shader, constants: { ...given, ...constants } },
      bindings: [
        reads(label, 'x', x, tokens * k),
        reads(label, 'lists', part.lists, 2 * part.blockRows + 1 + part.kept),
        bias ? reads(label, 'bias', bias, rows) : reads(label, 'x', x, 1),
        writes(label, 'y', y, tokens * width),
      ],
      weight: format.arrays.map((array, i) =>
        // A binding is never empty.
        bindArray(label, array.name, part.values[i]!, part.kept > 0 ? arrayBytes(array, part.kept, slots) : 16, read),
      ),
      params: packParams(
        ...[part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0, start, adds ? 1 : 0],
        ...[part.blockRows, slots],
      ),
      grid: variant.grid(shape, layout),
      bytes: (weight.byteLength * part.kept) / Math.max(1, weight.kept) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * part.kept * block.rows * block.columns,
    };
  });
}
