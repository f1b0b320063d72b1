import pack from '../../shaders/sparse/pack.wgsl';
import unpack from '../../shaders/sparse/unpack.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { formatBytes, shaderConstants } from '../formats/layout.ts';
import { type SparseLayout, type SparsePattern, sparseLayout } from '../formats/packed-layout.ts';
import { type BufferView, packParams, read, type Step } from '../gpu/kernel.ts';
import { bindArrays, type DeviceArrays } from './bind-arrays.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { maskWords } from './mask-pattern.ts';

/** Values of FROM in shaders/sparse/pack.wgsl. */
const SOURCES: Readonly<Record<string, number>> = { f32: 0, f16: 1, bf16: 2 };

/** A packed matrix on the device, in the layout of `sparseLayout`. */
export interface SparseArrays {
  /** Of the kept values [rows, slots]. */
  readonly format: Format;
  readonly values: DeviceArrays;
  /** u32 [bands, words] */
  readonly columns: BufferView;
  readonly pattern: SparsePattern;
  readonly rows: number;
  readonly k: number;
}

export interface PackSparseArguments extends SparseArrays {
  /** Format of `from`: `f32`, `f16` or `bf16`. */
  readonly source: Format;
  /** The dense matrix [rows, k], row-major. Its values are finite (`selectMaskSteps` says where they are not). */
  readonly from: BufferView;
  /** u32 [maskWords(rows, k)]: of a band that of the first row counts. */
  readonly mask: BufferView;
  /** What values are quantized to afterwards, whose blocks the slots of a row fill. Default: `format`. */
  readonly becomes?: Format;
}

/**
 * Packs the weights that a mask keeps, of each group the first `keep`; what the mask keeps beyond is lost. Values become f32 or f16, as `reference.quantize` makes
 * them; other formats quantize the packed f32 values (`quantizeStep` with slots in place of columns).
 * @throws ArgumentError for patterns, formats and buffers that do not fit
 */
export function packSparseStep(args: PackSparseArguments): Step {
  const { source, from, mask, format, values, columns, pattern, rows, k, becomes = format } = args;
  const label = 'pack sparse';
  checkSizes(label, { rows, k });
  const kind = SOURCES[source.name];
  if (kind === undefined) throw new ArgumentError(`${label}: only dense weights are packed, not ${source.name}.`);
  if (format.name !== 'f32' && format.name !== 'f16') {
    throw new ArgumentError(`${label}: makes values in f32 or f16, not in ${format.name}: quantize those in f32.`);
  }
  const layout = sparseLayout(pattern, becomes, rows, k);
  const { slots, bands, words } = layout;
  const size = formatBytes(source, rows, k);
  const constants = { FROM: kind, HALVES: Number(format.name === 'f16') };
  return {
    label,
    ...each(bands * words, { source: pack, constants }),
    bindings: [
      reads(label, 'mask', mask, maskWords(rows, k)),
      reads(label, 'from', from, size / 4),
      writes(label, 'values', values[0]!, formatBytes(format, rows, slots) / 4),
      writes(label, 'columns', columns, bands * words),
    ],
    params: paramsOf(rows, k, layout),
    bytes: size + 4 * maskWords(rows, k) + formatBytes(format, rows, slots) + 4 * bands * words,
  };
}

// Not constants: they would make a pipeline of each pattern.
const paramsOf = (rows: number, k: number, { slots, keep, of, band, bits }: SparseLayout) =>
  packParams(rows, k, slots, keep, of, band, bits);

/** The dense matrix that a packed one stands for. @throws ArgumentError for patterns, formats and buffers that do not fit */
export function unpackSparseStep(
  args: SparseArrays & {
    /** f32 [rows, k] */
    readonly to: BufferView;
  },
): Step {
  const { format, values, columns, pattern, rows, k, to } = args;
  const label = 'unpack sparse';
  checkSizes(label, { rows, k });
  const layout = sparseLayout(pattern, format, rows, k);
  const { slots, bands, words } = layout;
  return {
    label,
    ...each(rows * k, { source: unpack, format: format.shader, constants: shaderConstants(format, slots) }),
    bindings: [reads(label, 'columns', columns, bands * words), writes(label, 'to', to, rows * k)],
    weight: bindArrays(label, format, values, rows, slots, read),
    params: paramsOf(rows, k, layout),
    bytes: formatBytes(format, rows, slots) + 4 * (bands * words + rows * k),
  };
}
