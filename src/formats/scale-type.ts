import { bf16BitsToF32, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from './float16.ts';
import type { ElementType } from './format.ts';
import { readU16, writeU16 } from './layout.ts';
import { clamp } from './rounding.ts';

/** Types in which groups hold their scale, and their zero point where that is no integer. */
export type ScaleType = 'f16' | 'bf16' | 'f32';

/** How numbers of one type are rounded, read and written. */
export interface StoredFloat {
  readonly element: ElementType;
  /** The value of `SCALE_TYPE` in the shaders. */
  readonly code: number;
  /** Bits of one. */
  readonly bits: 16 | 32;
  /** The nearest value of the type, saturated; +0 whatever the sign of what rounds to zero. */
  round(x: number): number;
  read(bytes: Uint8Array, index: number): number;
  /** Stores a value that `round` gave. */
  write(bytes: Uint8Array, index: number, value: number): void;
}

const F16_MAX = 65504;
/**
 * Largest and smallest magnitudes in f32 and bf16: 255 of the largest are finite, and of anything that a code of at least one half belongs
 * to under the smallest no device makes zero.
 */
const MAX = 2 ** 117;
const MIN = 2 ** -100;

const bounded = (x: number): number => (Math.abs(x) < MIN ? 0 : clamp(x, -MAX, MAX));
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const STORED_FLOATS: Readonly<Record<ScaleType, StoredFloat>> = {
  f16: {
    element: 'F16',
    code: 0,
    bits: 16,
    round: (x) => f16BitsToF32(f32ToF16Bits(clamp(x, -F16_MAX, F16_MAX))) || 0,
    read: (bytes, index) => f16BitsToF32(readU16(bytes, index)),
    write: (bytes, index, value) => writeU16(bytes, index, f32ToF16Bits(value)),
  },
  bf16: {
    element: 'BF16',
    code: 1,
    bits: 16,
    round: (x) => bf16BitsToF32(f32ToBf16Bits(bounded(x))),
    read: (bytes, index) => bf16BitsToF32(readU16(bytes, index)),
    write: (bytes, index, value) => writeU16(bytes, index, f32ToBf16Bits(value)),
  },
  f32: {
    element: 'F32',
    code: 2,
    bits: 32,
    round: (x) => bounded(Math.fround(x)),
    read: (bytes, index) => view(bytes).getFloat32(4 * index, true),
    write: (bytes, index, value) => view(bytes).setFloat32(4 * index, value, true),
  },
};
