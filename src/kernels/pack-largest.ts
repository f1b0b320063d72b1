import packTwoOfFour from '../../shaders/sparse/pack_two_of_four.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { formatBytes } from '../formats/layout.ts';
import { type SparsePattern, sparseLayout } from '../formats/packed-layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { writes } from './exact.ts';
import { checkKeys, type Keys, keyBindings, keyKernel } from './keys.ts';
import { maskWords } from './mask-pattern.ts';
import { packSparseStep, type SparseArrays } from './pack-sparse.ts';
import { type MaskRoomBytes, selectMaskSteps } from './select-mask.ts';

export interface PackLargestArguments extends Keys, Omit<SparseArrays, 'rows' | 'k'> {
  /** What values are quantized to afterwards, whose blocks the slots of a row fill. Default: `format`. */
  readonly becomes?: Format;
  /** Where the mask goes in between, u32 [maskWords(rows, k)], and what finding it takes (`maskRoom`): unless `packsInOnePass`. */
  readonly mask?: BufferView;
  readonly room?: Readonly<Partial<Record<keyof MaskRoomBytes, BufferView>>>;
}

/** Whether a pattern is chosen and packed in one pass, without a mask in between. */
export const packsInOnePass = ({ keep, of, rows = 1 }: SparsePattern, k: number): boolean =>
  keep === 2 && of === 4 && rows === 1 && k % 4 === 0;

/**
 * Chooses what an N:M pattern keeps of a dense matrix, as `selectMaskSteps` does, and packs it, as `packSparseStep` does: 2:4 in one pass.
 * @throws ArgumentError for patterns, formats and buffers that do not fit
 */
export function packLargestSteps(args: PackLargestArguments): Step[] {
  const { source, from, rows, k, format, values, columns, pattern, mask, room = {}, becomes = format } = args;
  const label = 'pack largest';
  checkKeys(label, args);
  if (!packsInOnePass(pattern, k)) {
    if (!mask) throw new ArgumentError(`${label}: give "mask" of ${4 * maskWords(rows, k)} bytes.`);
    return [
      ...selectMaskSteps({ matrices: [{ ...args, mask, room }], pattern }),
      packSparseStep({ source, from, mask, format, values, columns, pattern, rows, k, becomes }),
    ];
  }
  if (format.name !== 'f32' && format.name !== 'f16') {
    throw new ArgumentError(`${label}: makes values in f32 or f16, not in ${format.name}: quantize those in f32.`);
  }
  const { slots, bands, words } = sparseLayout(pattern, becomes, rows, k);
  const constants = { HALVES: Number(format.name === 'f16'), WHOLE: Number(k === 2 * slots) };
  const bytes = formatBytes(format, rows, slots);
  return [
    {
      label: `${label}: 2:4`,
      ...each(bands * words, keyKernel(args, packTwoOfFour, packTwoOfFour, constants)),
      ...keyBindings(label, args, [
        writes(label, 'values', values[0]!, bytes / 4),
        writes(label, 'columns', columns, bands * words),
      ]),
      params: packParams(rows, k, slots),
      bytes: formatBytes(source, rows, k) + bytes + 4 * bands * words,
    },
  ];
}
