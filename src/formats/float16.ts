/**
 * The two 16-bit floating-point types as bit patterns. Values are f32 (a JavaScript number is rounded to f32 first);
 * narrowing rounds to nearest, ties to even, as IEEE 754 does by default.
 */

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

const bitsOf = (x: number): number => {
  f32[0] = x;
  return u32[0]!;
};
const fromBits = (bits: number): number => {
  u32[0] = bits;
  return f32[0]!;
};

/** IEEE 754 binary16 bits of `x`. Values of 65520 and above become infinity; NaN stays NaN (quiet). */
export function f32ToF16Bits(x: number): number {
  const bits = bitsOf(x);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: rebias the exponent by 127 - 15; a carry out of the mantissa lands in the exponent, as it should.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  // Below 2^-14: a multiple of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  return sign | ((mantissa + (1 << (shift - 1)) - 1 + ((mantissa >>> shift) & 1)) >>> shift);
}

/** The value of IEEE 754 binary16 bits; exact. */
export function f16BitsToF32(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return fromBits((sign | 0x7f800000 | ((magnitude & 0x3ff) << 13)) >>> 0);
  if (magnitude >= 0x400) return fromBits((sign | ((magnitude << 13) + 0x38000000)) >>> 0);
  return (sign < 0 ? -magnitude : magnitude) * 2 ** -24;
}

/** bfloat16 bits of `x`: the upper half of its f32 bits, rounded. */
export function f32ToBf16Bits(x: number): number {
  const bits = bitsOf(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The value of bfloat16 bits; exact. */
export function bf16BitsToF32(bits: number): number {
  return fromBits((bits << 16) >>> 0);
}
