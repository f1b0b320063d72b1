import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { checkPattern, type MaskPattern } from './mask-pattern.ts';

/** N:M: of each `of` weights next to each other in a row at most `keep` are stored; `rows` rows that follow each other share their places (default 1). */
export type SparsePattern = Extract<MaskPattern, { readonly kind: 'n:m' }>;

/** How many rows may share their places where weights are packed. */
export const BANDS: readonly number[] = [1, 4, 8, 16];

/** Slots that kernels take at a time: CHUNK of `shaders/formats`. */
const CHUNK = 16;

/**
 * Where a packed matrix [rows, k] has what. Kept values are a matrix [rows, slots] in any format: `keep` for each group of a row, in the order of their columns,
 * then as many as make whole blocks of the format. A slot that no weight fills holds 0 and names its group's first column. For each band of rows `words` words say
 * which column of its group each slot stands for, `bits` bits a slot, the first lowest.
 */
export interface SparseLayout {
  readonly keep: number;
  readonly of: number;
  /** Rows of a band. */
  readonly band: number;
  readonly bands: number;
  /** Of a row. */
  readonly groups: number;
  /** Of a row, padding included: a multiple of 16 and of the format's block. */
  readonly slots: number;
  /** Of a slot: 1, 2 or 4. */
  readonly bits: 1 | 2 | 4;
  /** Of a band. */
  readonly words: number;
}

/** @throws ArgumentError for patterns that can't be packed, and formats that need whole rows */
export function sparseLayout(pattern: SparsePattern, format: Format, rows: number, k: number): SparseLayout {
  checkPattern(pattern);
  const { keep, of, rows: band = 1 } = pattern;
  if (!BANDS.includes(band)) {
    throw new ArgumentError(`Weights whose pattern ${band} rows share can't be packed; ${BANDS.join(', ')} rows can.`);
  }
  if (format.wholeRows || format.activations || format.arrays.some(({ span }) => span)) {
    throw new ArgumentError(
      `Packed weights can't have values in ${format.name}, whose scales are not those of blocks.`,
    );
  }
  const groups = Math.ceil(k / of);
  const block = Math.max(CHUNK, format.block);
  const slots = Math.ceil((groups * keep) / block) * block;
  const bits = of <= 2 ? 1 : of <= 4 ? 2 : 4;
  const words = Math.ceil((slots * bits) / 32);
  return { keep, of, band, bands: Math.ceil(rows / band), groups, slots, bits, words };
}

/** Values for the `override`s of `shaders/sparse/layout.wgsl`. */
export const layoutConstants = ({ keep, of, band, bits }: SparseLayout): Readonly<Record<string, number>> => ({
  KEEP: keep,
  OF: of,
  BAND: band,
  BITS: bits,
});
