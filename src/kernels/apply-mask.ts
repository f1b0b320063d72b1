import applyMask from '../../shaders/prune/apply_mask.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { formatBytes } from '../formats/layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { maskWords } from './mask-pattern.ts';

/** Puts zeros in place of the weights that a mask leaves out. @throws ArgumentError for sizes and buffers that do not fit */
export function applyMaskStep(args: {
  /** `f32`, `f16` or `bf16`. */
  readonly format: Format;
  /** [rows, k], changed in place. */
  readonly data: BufferView;
  /** u32 [maskWords(rows, k)] */
  readonly mask: BufferView;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { format, data, mask, rows, k } = args;
  const label = 'apply mask';
  checkSizes(label, { rows, k });
  if (format.kind !== 'dense') throw new ArgumentError(`${label}: ${format.name} is not dense.`);
  const words = formatBytes(format, rows, k) / 4;
  return {
    label,
    ...each(words, { source: applyMask, constants: { HALVES: Number(format.arrays[0]!.type !== 'F32') } }),
    bindings: [reads(label, 'mask', mask, maskWords(rows, k)), writes(label, 'data', data, words)],
    params: packParams(rows * k, k),
    bytes: 8 * words + 4 * maskWords(rows, k),
  };
}
