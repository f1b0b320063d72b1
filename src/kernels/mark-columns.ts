import markColumns from '../../shaders/gptq/mark_columns.wgsl';
import slotCodes from '../../shaders/gptq/slot_codes.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Grid } from '../formats/format.ts';
import type { SparseLayout } from '../formats/packed-layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { maskWords } from './mask-pattern.ts';

/** Codes of weights of which a mask leaves some out. */
export interface Marked {
  /** Where only those that stay are stored (`sparseLayout`): their scales belong to slots. */
  readonly packing?: SparseLayout | undefined;
}

/** Weights of a row that are stored. */
export const slotsOf = (marked: Marked | undefined, k: number): number => marked?.packing?.slots ?? k;

/** Groups that a mark has room for. */
const MOST_GROUPS = 2 ** 22;

/**
 * Writes above the codes of `chosen` which weights the mask leaves out, and which scale each has (shaders/gptq/marks.wgsl): `chooseCodesSteps` and `refitSteps`
 * heed and keep it.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function markColumnsStep(args: {
  readonly marked: Marked;
  readonly grid: Pick<Grid, 'group'>;
  /** u32 [k]: the column at each place. */
  readonly order: BufferView;
  /** u32 [maskWords(rows, k)] */
  readonly mask: BufferView;
  /** u32 [k, rows] */
  readonly chosen: BufferView;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { marked, grid, order, mask, chosen, rows, k } = args;
  const label = 'mark columns';
  checkSizes(label, { rows, k });
  const groups = slotsOf(marked, k) / grid.group;
  if (groups > MOST_GROUPS) throw new ArgumentError(`${label}: rows of ${groups} groups are too long.`);
  const { keep = 0, of = 1 } = marked.packing ?? {};
  return {
    label,
    ...each(k * rows, { source: markColumns }),
    bindings: [
      reads(label, 'order', order, k),
      reads(label, 'mask', mask, maskWords(rows, k)),
      writes(label, 'chosen', chosen, k * rows),
    ],
    params: packParams(rows, k, Math.ceil(k / 32), grid.group, keep, of),
    bytes: 8 * k * rows,
  };
}

/**
 * Codes chosen column by column as those of slots of packed rows, bytes [rows, slots]: what `packStep` takes. A slot that no weight fills gets the code of what is
 * nearest to 0.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function slotCodesStep(args: {
  readonly packing: SparseLayout;
  readonly grid: Grid;
  /** u32 [k, rows] */
  readonly chosen: BufferView;
  /** u32 [k]: the row of `chosen` that each column is. */
  readonly place: BufferView;
  /** u32 [maskWords(rows, k)] */
  readonly mask: BufferView;
  /** f32x2 [rows, slots / grid.group] */
  readonly scales: BufferView;
  /** f32: `grid.levels` */
  readonly levels: BufferView;
  readonly codes: BufferView;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { packing, grid, chosen, place, mask, scales, levels, codes, rows, k } = args;
  const { slots, keep, of } = packing;
  const label = 'codes of slots';
  checkSizes(label, { rows, k });
  const words = Math.ceil((rows * slots) / 4);
  return {
    label,
    ...each(words, { source: slotCodes }),
    bindings: [
      reads(label, 'chosen', chosen, k * rows),
      reads(label, 'place', place, k),
      reads(label, 'mask', mask, maskWords(rows, k)),
      reads(label, 'scales', scales, (2 * rows * slots) / grid.group),
      reads(label, 'levels', levels, grid.levels.length),
      writes(label, 'codes', codes, words),
    ],
    params: packParams(rows, k, Math.ceil(k / 32), slots, keep, of, grid.group, grid.levels.length),
    bytes: 5 * rows * slots,
  };
}
