import { ArgumentError } from '../errors.ts';
import { shaderConstants } from '../formats/layout.ts';
import { layoutConstants } from '../formats/packed-layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Columns, columnsOf } from './linear.ts';
import { findSparseVariant } from './sparse-linear-variants.ts';
import { type Weight, weightBindings } from './weight.ts';

/** What a product with a packed weight reads and writes. */
export interface SparseLinearArguments {
  /** f32 [tokens, weight.k] */
  readonly x: BufferView;
  /** In a packed format (`packedFormat`). */
  readonly weight: Weight;
  /** f32 [weight.rows] */
  readonly bias?: BufferView;
  /** f32 [tokens, weight.rows], or as `into` says. */
  readonly y: BufferView;
  readonly tokens: number;
  /** The name of one of `sparseVariants` that fits pattern and device (`sparseVariantsFor`). Default: `vector-32`, which runs with all on all. */
  readonly variant?: string;
  readonly into?: Columns;
  /** The product is added to what y holds. */
  readonly adds?: boolean;
  readonly label?: string;
}

/** WebGPU's limit of storage buffers, less those of x, columns, bias and y. */
const MOST_ARRAYS = 4;

/**
 * y = x Wᵀ (+ bias) with a packed weight, of which nothing is expanded: one step for each part. Sums run in f32; the order depends on the variant.
 * @throws ArgumentError for sizes, buffers and variants that do not fit, and for values in formats of more than four arrays
 */
export function sparseLinearSteps(args: SparseLinearArguments): Step[] {
  const { x, weight, bias, y, tokens, adds = false, label = 'sparse linear' } = args;
  const { k, rows, format } = weight;
  const { packed } = format;
  checkSizes(label, { tokens, k });
  if (!packed) throw new ArgumentError(`${label}: a weight in ${format.name} is not packed: use linearSteps.`);
  if (packed.values.arrays.length > MOST_ARRAYS) {
    throw new ArgumentError(`${label}: values in ${packed.values.name} take more arrays than a kernel can bind.`);
  }
  const layout = packed.layout(rows, k);
  const { start, width } = columnsOf(label, rows, args.into);
  checkSizes(label, { tokens, width });
  const variant = findSparseVariant(label, args.variant ?? 'vector-32', layout);
  const given = { ...shaderConstants(format, k), ...layoutConstants(layout) };
  return weight.parts.map((part) => {
    const shape = { rows: part.rows, k, tokens };
    const { constants, ...kernel } = variant.kernel(shape);
    const words = layout.words * Math.ceil(part.rows / layout.band);
    return {
      label,
      kernel: { ...kernel, format: format.shader, constants: { ...given, ...constants } },
      bindings: [
        reads(label, 'x', x, tokens * k),
        reads(label, 'columns', part.arrays.at(-1)!, words),
        bias ? reads(label, 'bias', bias, rows) : reads(label, 'x', x, 1),
        writes(label, 'y', y, tokens * width),
      ],
      weight: weightBindings({ ...part, arrays: part.arrays.slice(0, -1) }),
      params: packParams(
        ...[part.rows, k, tokens, part.rowStart, width, bias ? 1 : 0, start, adds ? 1 : 0],
        ...[layout.slots, layout.words],
      ),
      grid: variant.grid(shape, layout),
      bytes: weight.byteLength * (part.rows / rows) + 4 * tokens * (k + part.rows),
      operations: 2 * tokens * layout.groups * layout.keep * part.rows,
    };
  });
}
