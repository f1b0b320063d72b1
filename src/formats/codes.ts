/**
 * The code array of block formats. Eight-bit: byte i of a row is weight i. Four-bit: each 32-bit word holds eight
 * consecutive weights, weight b (0..3) in the low nibble of byte b and weight 4 + b in its high nibble, so that a
 * kernel gets two vec4s with one mask and one shift. Five-bit: four bits like that, and the fifth bits in an array of bits.
 * Two- and three-bit: a stream of bits, each code from its lowest bit on, so that 32 codes of three bits take three words.
 */

/** Index of the byte that holds the four-bit code of weight `i`, counted over whole rows. */
const nibbleByte = (i: number): number => (i >>> 3) * 4 + (i & 3);

/** The four-bit code of weight `i`. */
export function readNibble(codes: Uint8Array, i: number): number {
  return (codes[nibbleByte(i)]! >>> (i & 4)) & 15;
}

/** Stores the four-bit code of weight `i` in an array that is still zero there. */
export function writeNibble(codes: Uint8Array, i: number, code: number): void {
  codes[nibbleByte(i)]! |= code << (i & 4);
}

/** Bit `i` of an array of bits: little-endian words hold 32 of them, the first in the lowest place. */
export function readBit(bits: Uint8Array, i: number): number {
  return (bits[i >>> 3]! >>> (i & 7)) & 1;
}

/** Stores bit `i` in an array that is still zero there. */
export function writeBit(bits: Uint8Array, i: number, bit: number): void {
  bits[i >>> 3]! |= bit << (i & 7);
}

/** Levels that are one apart: those of codes 0 … count − 1. */
export const levelsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => first + i);

/** Number `i` of `width` bits, at most 8, in a stream of bits. */
export function readBits(bytes: Uint8Array, i: number, width: number): number {
  const at = i * width;
  const first = Math.floor(at / 8);
  return ((bytes[first]! | ((bytes[first + 1] ?? 0) << 8)) >>> (at % 8)) & ((1 << width) - 1);
}

/** Stores number `i` of `width` bits in a stream that is still zero there. */
export function writeBits(bytes: Uint8Array, i: number, width: number, value: number): void {
  const at = i * width;
  const first = Math.floor(at / 8);
  bytes[first]! |= value << (at % 8);
  if ((at % 8) + width > 8) bytes[first + 1]! |= value >>> (8 - (at % 8));
}
