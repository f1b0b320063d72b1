import type { SparseLayout } from './packed-layout.ts';

/** A packed matrix on the host. */
export interface HostSparse {
  /** [rows, slots] */
  readonly values: Float32Array;
  /** [bands, words] */
  readonly columns: Uint32Array;
}

/** The weights that a mask (`maskWords`) keeps, packed: of the first row of a band its mask counts, and of a group the first `keep`. */
export function packSparse(
  weights: ArrayLike<number>,
  mask: Uint32Array,
  rows: number,
  k: number,
  { keep, of, band, bands, groups, slots, bits, words }: SparseLayout,
): HostSparse {
  const values = new Float32Array(rows * slots);
  const columns = new Uint32Array(bands * words);
  const maskRow = Math.ceil(k / 32);
  for (let first = 0; first < rows; first += band) {
    for (let group = 0; group < groups; group++) {
      let slot = group * keep;
      for (let column = group * of; column < Math.min((group + 1) * of, k); column++) {
        const kept = (mask[first * maskRow + (column >> 5)]! >>> (column & 31)) & 1;
        if (!kept || slot === (group + 1) * keep) continue;
        const bit = slot * bits;
        columns[(first / band) * words + (bit >> 5)]! |= (column - group * of) << (bit & 31);
        for (let row = first; row < Math.min(first + band, rows); row++) {
          values[row * slots + slot] = weights[row * k + column]!;
        }
        slot++;
      }
    }
  }
  return { values, columns };
}

/** The matrix [rows, k] that a packed one stands for: of slots that name the same column the first counts. */
export function unpackSparse(
  { values, columns }: { readonly values: ArrayLike<number>; readonly columns: Uint32Array },
  rows: number,
  k: number,
  { keep, of, band, groups, slots, bits, words }: SparseLayout,
): Float32Array {
  const weights = new Float32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    // Backwards, so that the first is written last.
    for (let slot = groups * keep - 1; slot >= 0; slot--) {
      const bit = slot * bits;
      const place = (columns[Math.floor(row / band) * words + (bit >> 5)]! >>> (bit & 31)) & (2 ** bits - 1);
      const column = Math.floor(slot / keep) * of + place;
      if (column < k) weights[row * k + column] = values[row * slots + slot]!;
    }
  }
  return weights;
}
