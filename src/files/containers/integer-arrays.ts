import { readBits, readNibble, writeBits } from '../../formats/codes.ts';
import type { HostArrays } from '../../formats/format.ts';
import { zeroBits } from '../../formats/integer-groups.ts';
import { STORED_FLOATS } from '../../formats/scale-type.ts';
import type { IntegerFormat } from './container.ts';

/** Weights of a row of `k` that share a scale. */
export const groupSize = ({ integer }: IntegerFormat, k: number): number =>
  integer.group === 'row' ? k : integer.group;

/** Bytes of a row of `k` codes as a stream of bits, padded to a whole word. */
export const packedRowBytes = (bits: number, k: number): number => 4 * Math.ceil((k * bits) / 32);

/**
 * Codes as both containers have them: unsigned, each row a stream of bits from the lowest place of its first word on, without gaps, padded to a
 * whole word.
 */
export function packRows({ integer }: IntegerFormat, codes: Uint8Array, rows: number, k: number): Uint8Array {
  const { bits, zero } = integer;
  const rowBytes = packedRowBytes(bits, k);
  if (bits < 4 && rowBytes * 8 === k * bits) return codes.slice(0, rows * rowBytes);
  const read = (i: number): number => {
    if (bits === 4) return readNibble(codes, i);
    // With the middle as zero these are stored signed.
    if (bits === 8) return zero === 'middle' ? codes[i]! ^ 0x80 : codes[i]!;
    return readBits(codes, i, bits);
  };
  const out = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    const to = out.subarray(row * rowBytes, (row + 1) * rowBytes);
    for (let i = 0; i < k; i++) writeBits(to, i, bits, read(row * k + i));
  }
  return out;
}

/** The scale and the zero point of each group, counted over whole rows, as numbers. */
export function readGroups(
  { integer }: IntegerFormat,
  { scales, zeros }: HostArrays,
  rows: number,
  k: number,
  size: number,
): { readonly scales: Float32Array; readonly zeros: Float32Array } {
  const perRow = k / size;
  const stored = STORED_FLOATS[integer.scale];
  const count = rows * perRow;
  const width = zeroBits(integer.bits, perRow);
  const zeroOf = (g: number): number => {
    if (integer.zero === 'middle') return 2 ** (integer.bits - 1);
    return integer.zero === 'float' ? stored.read(zeros!, g) : readBits(zeros!, g, width);
  };
  return {
    scales: Float32Array.from({ length: count }, (_, g) => stored.read(scales!, g)),
    zeros: Float32Array.from({ length: count }, (_, g) => zeroOf(g)),
  };
}
