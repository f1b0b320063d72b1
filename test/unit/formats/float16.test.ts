import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bf16BitsToF32, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from '../../../src/formats/float16.ts';

// The definition, from IEEE 754: sign, 5 exponent bits biased by 15, 10 fraction bits.
const f16Value = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return (sign * fraction * 2 ** -14) / 1024;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

const all16 = Array.from({ length: 0x10000 }, (_, bits) => bits);
const finite32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const near = (max: number) => fc.float({ min: Math.fround(-max), max: Math.fround(max), noNaN: true });

describe('f16', () => {
  test('every bit pattern decodes to its IEEE value and encodes back to itself', () => {
    const wrong = all16.filter((bits) => {
      const value = f16BitsToF32(bits);
      if (!Object.is(value, f16Value(bits))) return true;
      return Number.isNaN(value) ? !Number.isNaN(f16Value(f32ToF16Bits(value))) : f32ToF16Bits(value) !== bits;
    });
    expect(wrong).toEqual([]);
  });

  test('halfway between two neighbours goes to the even one; one f32 step aside goes to the nearer', () => {
    const step = new Uint32Array(1);
    const asFloat = new Float32Array(step.buffer);
    const wrong = all16.slice(0, 0x7bff).filter((bits) => {
      asFloat[0] = (f16Value(bits) + f16Value(bits + 1)) / 2;
      const even = bits & 1 ? bits + 1 : bits;
      const results = [f32ToF16Bits(asFloat[0]), f32ToF16Bits(-asFloat[0])];
      step[0]!--;
      results.push(f32ToF16Bits(asFloat[0]));
      step[0]! += 2;
      results.push(f32ToF16Bits(asFloat[0]));
      const wanted = [even, even | 0x8000, bits, bits + 1];
      return results.join() !== wanted.join();
    });
    expect(wrong).toEqual([]);
    expect(f32ToF16Bits(65519.996)).toBe(0x7bff);
    expect(f32ToF16Bits(65520)).toBe(0x7c00);
    expect(f32ToF16Bits(-3.4e38)).toBe(0xfc00);
  });

  test('no other f16 is nearer', () => {
    fc.assert(
      fc.property(fc.oneof(near(70000), near(1), near(1e-4), near(1e-7)), (x) => {
        const bits = f32ToF16Bits(x);
        if ((bits & 0x7fff) === 0x7c00) return Math.abs(x) >= 65520;
        const error = Math.abs(f16Value(bits) - x);
        const neighbours = [bits - 1, bits + 1].filter((b) => (b ^ bits) < 0x8000 && Number.isFinite(f16Value(b)));
        return neighbours.every((b) => error <= Math.abs(f16Value(b) - x));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('bf16', () => {
  test('every bit pattern survives, and NaN stays NaN', () => {
    const wrong = all16.filter((bits) => {
      const back = f32ToBf16Bits(bf16BitsToF32(bits));
      return Number.isNaN(bf16BitsToF32(bits)) ? !Number.isNaN(bf16BitsToF32(back)) : back !== bits;
    });
    expect(wrong).toEqual([]);
  });

  test('the error is at most half a unit, and halves go to even', () => {
    fc.assert(
      fc.property(finite32, (x) => {
        const back = bf16BitsToF32(f32ToBf16Bits(x));
        const unit = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(x) || 1e-45))) - 7);
        return !Number.isFinite(back) ? Math.abs(x) >= 3.3961775e38 : Math.abs(back - x) <= unit / 2;
      }),
      { numRuns: 5000 },
    );
    expect(f32ToBf16Bits(1 + 2 ** -8)).toBe(0x3f80);
    expect(f32ToBf16Bits(1 + 3 * 2 ** -8)).toBe(0x3f82);
  });
});
