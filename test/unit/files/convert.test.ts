import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FormatError, NonFiniteError } from '../../../src/errors.ts';
import { decodeToF32, encodeF16 } from '../../../src/files/convert.ts';
import { f16BitsToF32 } from '../../../src/formats/float16.ts';

const bytesOf = (array: Float32Array | Float64Array | Uint16Array): Uint8Array => new Uint8Array(array.buffer.slice(0));

describe('decodeToF32', () => {
  test('F32 is taken as it is, at any alignment', () => {
    fc.assert(
      fc.property(fc.float32Array({ maxLength: 20 }), fc.nat(7), (values, shift) => {
        const shifted = new Uint8Array(shift + values.byteLength);
        shifted.set(bytesOf(values), shift);
        expect(decodeToF32(shifted.subarray(shift), 'F32')).toEqual(values);
      }),
      { seed: 1 },
    );
  });

  test('every F16 and BF16 pattern has its value', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const half = decodeToF32(bytesOf(all), 'F16');
    const brain = new Uint32Array(decodeToF32(bytesOf(all), 'BF16').buffer);
    for (let bits = 0; bits < 65536; bits++) {
      if (!Object.is(half[bits], f16BitsToF32(bits))) expect.fail(`F16 pattern ${bits}`);
      if (brain[bits] !== bits * 65536) expect.fail(`BF16 pattern ${bits}`);
    }
    // 1, -2, the largest, the smallest denormal, by the definition of binary16.
    expect([half[0x3c00], half[0xc000], half[0x7bff], half[1]]).toEqual([1, -2, 65504, 2 ** -24]);
  });

  test('F64 is rounded to nearest', () => {
    const values = Float64Array.of(1.5, 1 + 2 ** -30, -(2 ** 200), 2 ** -160);
    expect([...decodeToF32(bytesOf(values), 'F64')]).toEqual([1.5, 1, -Infinity, 0]);
  });

  test('integers and broken lengths are refused', () => {
    expect(() => decodeToF32(new Uint8Array(8), 'I32')).toThrow(FormatError);
    expect(() => decodeToF32(new Uint8Array(7), 'F32')).toThrow(/7 bytes/);
  });
});

describe('encodeF16', () => {
  test('undoes decoding for every finite pattern', () => {
    const finite = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((bits) => (bits & 0x7c00) !== 0x7c00);
    expect(encodeF16(decodeToF32(bytesOf(finite), 'F16'))).toEqual(bytesOf(finite));
  });

  test('rounds ties to even', () => {
    const ulp = 2 ** -10;
    const codes = new Uint16Array(encodeF16(Float32Array.of(1 + ulp / 2, 1 + 1.5 * ulp, 65519)).buffer);
    expect([...codes]).toEqual([0x3c00, 0x3c02, 0x7bff]);
  });

  test('names a value that overflows; infinities pass', () => {
    expect(() => encodeF16(Float32Array.of(1, -65520), 'lm_head')).toThrow(NonFiniteError);
    expect(() => encodeF16(Float32Array.of(1, -65520), 'lm_head')).toThrow(/lm_head: -65520 at index 1/);
    expect([...new Uint16Array(encodeF16(Float32Array.of(Infinity, -Infinity)).buffer)]).toEqual([0x7c00, 0xfc00]);
  });
});
