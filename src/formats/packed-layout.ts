import { ArgumentError, FormatError } from '../errors.ts';
import type { Format } from './format.ts';

/** N:M: of each `of` weights next to each other in a row at most `keep` are stored; `rows` rows that follow each other share their places (default 1). */
export interface SparsePattern {
  readonly kind: 'n:m';
  readonly keep: number;
  readonly of: number;
  readonly rows?: number;
}

/** The largest group of N:M: its keys are sorted in registers. */
const LARGEST_GROUP = 16;

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

/** @throws ArgumentError that says which values would work */
export function checkGroup({ keep, of }: { readonly keep: number; readonly of: number }): void {
  if (!Number.isInteger(of) || of < 2 || of > LARGEST_GROUP) {
    throw new ArgumentError(`The pattern ${keep}:${of} has groups of ${of}; they have 2 to ${LARGEST_GROUP} weights.`);
  }
  if (!Number.isInteger(keep) || keep < 1 || keep >= of) {
    throw new ArgumentError(`The pattern ${keep}:${of} keeps ${keep} of ${of}; keep 1 to ${of - 1}.`);
  }
}

/** @throws ArgumentError for patterns that can't be packed, and formats that need whole rows */
export function checkPacking(pattern: SparsePattern, values: Format): void {
  checkGroup(pattern);
  const { rows: band = 1 } = pattern;
  if (!BANDS.includes(band)) {
    throw new ArgumentError(`Weights whose pattern ${band} rows share can't be packed; ${BANDS.join(', ')} rows can.`);
  }
  if (values.wholeRows || values.activations || values.packed || values.arrays.some(({ span }) => span)) {
    throw new ArgumentError(
      `Packed weights can't have values in ${values.name}, whose scales are not those of blocks.`,
    );
  }
}

/** @throws ArgumentError as `checkPacking` */
export function sparseLayout(pattern: SparsePattern, values: Format, rows: number, k: number): SparseLayout {
  checkPacking(pattern, values);
  const { keep, of, rows: band = 1 } = pattern;
  const groups = Math.ceil(k / of);
  const block = Math.max(CHUNK, values.block);
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

/** Whether a weight of 0 is stored as 0: not above a minimum or a zero point that is a float, nor by levels of which none is 0. */
export function storesZero({ arrays, grid }: Format): boolean {
  const zeros = arrays.find(({ name }) => name === 'zeros');
  if (zeros) return zeros.type === 'U8' || zeros.type === 'U32';
  // Without levels below 0 there is a minimum that they are added to.
  return grid === undefined || (grid.levels.includes(0) && grid.levels.some((level) => level < 0));
}

/** @throws FormatError where slots that no weight fills could not hold 0 */
export function checkPackedRow(pattern: SparsePattern, values: Format, k: number, name: string): void {
  const { keep, of } = pattern;
  const { slots } = sparseLayout(pattern, values, 1, k);
  if (storesZero(values) || (k % of === 0 && (k / of) * keep === slots)) return;
  throw new FormatError(
    `Tensor "${name}" cannot be packed as ${keep}:${of} with values in ${values.name}: its rows have ${k} weights, of which ${keep} of ${of} fill no whole blocks of ${values.block}, and ` +
      `${values.name} can't store the zeros that would. Choose a format without minima, such as q8_0, q4_0 or int4.`,
  );
}

/** Index of the first slot whose place lies outside its group, of some bands; -1 where there is none. */
export function badPlace({ of, bits, slots, words: row }: SparseLayout, columns: Uint32Array): number {
  if (of === 2 ** bits) return -1;
  const most = 2 ** bits - 1;
  for (const [at, word] of columns.entries()) {
    const first = (at % row) * (32 / bits);
    for (let i = 0; i < 32 / bits && first + i < slots; i++) {
      if (((word >>> (i * bits)) & most) >= of) return Math.floor(at / row) * slots + first + i;
    }
  }
  return -1;
}
