import { BANDS, type SparsePattern } from '../../../src/formats/packed-layout.ts';
import { maskWords } from '../../../src/kernels/mask-pattern.ts';
import { filled, gaussian, size } from '../layers/bench.ts';

/** Any pattern that weights are packed by. */
export function anyPattern(next: () => number, bands: readonly number[] = BANDS): SparsePattern {
  const of = 2 + Math.floor(next() * 15);
  const keep = 1 + Math.floor(next() * (of - 1));
  const rows = bands[Math.floor(next() * bands.length)]!;
  return { kind: 'n:m', keep, of, rows };
}

/** Weights, and a mask that keeps of each group any columns, sometimes fewer than the pattern does. */
export function anyMasked(next: () => number, { keep, of, rows: band = 1 }: SparsePattern, most: number) {
  const [rows, k] = [size(next, most), size(next, 2 * most)];
  const value = () => (next() < 0.1 ? (next() < 0.5 ? 0 : -0) : gaussian(next) * 2 ** Math.floor(next() * 40 - 30));
  const weights = filled(rows * k, value);
  const mask = new Uint32Array(maskWords(rows, k));
  const across = Math.ceil(k / 32);
  for (let first = 0; first < rows; first += band) {
    for (let group = 0; group < k; group += of) {
      const end = Math.min(group + of, k);
      const wanted = next() < 0.1 ? Math.floor(next() * keep) : keep;
      const columns = Array.from({ length: end - group }, (_, i) => group + i);
      for (let i = 0; i < wanted && columns.length > 0; i++) {
        const [column] = columns.splice(Math.floor(next() * columns.length), 1);
        for (let row = first; row < Math.min(first + band, rows); row++) {
          mask[row * across + (column! >> 5)]! |= 1 << (column! & 31);
        }
      }
    }
  }
  return { weights, mask, rows, k };
}
