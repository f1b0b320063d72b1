import toGrid from '../../shaders/pack/grid.wgsl';
import type { Format } from '../formats/format.ts';
import { formatBytes, shaderConstants } from '../formats/layout.ts';
import { type BufferView, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';
import { bindArray, bindArrays, type DeviceArrays } from './bind-arrays.ts';
import { each } from './each.ts';
import { checkGrid } from './pack.ts';

/** What finding scales and offsets reads and writes. */
export interface GridArguments {
  /** A format with a `grid`. */
  readonly format: Format;
  /** The arrays of `format`; codes are not looked at. */
  readonly from: DeviceArrays;
  /** Receives a scale and an offset, f32 both, for each group: [rows, k / grid.group, 2]. */
  readonly to: BufferView;
  readonly rows: number;
  readonly k: number;
  /** Names the tensor in labels and errors. */
  readonly name?: string;
}

/**
 * Scales and offsets of a weight: what `grid.levels` is multiplied with and what is added to the product.
 * @throws FormatError when the format has no grid or `k` is no multiple of the block, ArgumentError for shapes and buffers that do not fit.
 */
export function gridStep(args: GridArguments): Step {
  const { format, from, to, rows, k, name = 'weight' } = args;
  const label = `grid of ${name} in ${format.name}`;
  const { group } = checkGrid(format, rows, k, name, label);
  const groups = (rows * k) / group;
  return {
    label,
    ...each(groups, {
      source: toGrid,
      format: format.shader,
      constants: { ...shaderConstants(format, k), SHARING: group },
    }),
    bindings: [bindArray(label, 'grid', to, 8 * groups, readWrite)],
    weight: bindArrays(label, format, from, rows, k, read),
    params: packParams(groups),
    bytes: 8 * groups + formatBytes(format, rows, k),
  };
}
