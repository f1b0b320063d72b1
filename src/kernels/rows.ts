import difference from '../../shaders/algebra/difference.wgsl';
import rowProducts from '../../shaders/algebra/row_products.wgsl';
import scaleColumns from '../../shaders/algebra/scale_columns.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** out = a − b, f32 [count] each. @throws ArgumentError */
export function differenceStep(args: {
  readonly a: BufferView;
  readonly b: BufferView;
  readonly out: BufferView;
  readonly count: number;
}): Step {
  const { a, b, out, count } = args;
  const label = 'difference';
  checkSizes(label, { count });
  return {
    label,
    ...each(count, { source: difference }),
    bindings: [reads(label, 'a', a, count), reads(label, 'b', b, count), writes(label, 'out', out, count)],
    params: packParams(count),
    bytes: 12 * count,
  };
}

/** out[row, column] = x[row, column] · factors[column]: f32 [rows, width], factors f32 [width]. @throws ArgumentError */
export function scaleColumnsStep(args: {
  readonly x: BufferView;
  readonly factors: BufferView;
  readonly out: BufferView;
  readonly rows: number;
  readonly width: number;
}): Step {
  const { x, factors, out, rows, width } = args;
  const label = 'scale columns';
  checkSizes(label, { rows, width });
  const count = rows * width;
  return {
    label,
    ...each(count, { source: scaleColumns }),
    bindings: [reads(label, 'x', x, count), reads(label, 'factors', factors, width), writes(label, 'out', out, count)],
    params: packParams(count, width),
    bytes: 8 * count,
  };
}

/** out[row] = Σ a · b: f32 [rows, width] each, out f32 [rows]. @throws ArgumentError */
export function rowProductsStep(args: {
  readonly a: BufferView;
  readonly b: BufferView;
  readonly out: BufferView;
  readonly rows: number;
  readonly width: number;
}): Step {
  const { a, b, out, rows, width } = args;
  const label = 'row products';
  checkSizes(label, { rows, width });
  return {
    label,
    ...each(rows, { source: rowProducts }),
    bindings: [reads(label, 'a', a, rows * width), reads(label, 'b', b, rows * width), writes(label, 'out', out, rows)],
    params: packParams(rows, width),
    bytes: 8 * rows * width,
    operations: 2 * rows * width,
  };
}
