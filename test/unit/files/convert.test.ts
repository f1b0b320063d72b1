import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FormatError, NonFiniteError } from '../../../src/errors.ts';
import { decodeFloat8, decodeToF32, encodeF16 } from '../../../src/files/convert.ts';
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

  /** A decimal number's digits, then a power of two: what the papers define, without bit arithmetic of ours. */
  const float8 = (exponent: number, bias: number) => (code: number) => {
    const bits = code.toString(2).padStart(8, '0');
    const [e, m] = [Number.parseInt(bits.slice(1, 1 + exponent), 2), bits.slice(1 + exponent)];
    const fraction = Number.parseInt(m, 2) / 2 ** m.length;
    const size = e === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (e - bias);
    return bits[0] === '1' ? -size : size;
  };
  const codes = (...values: number[]) => new Set(values);
  test.each([
    ['F8_E4M3', float8(4, 7), codes(0x7f, 0xff), codes()],
    ['F8_E5M2', float8(5, 15), codes(0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff), codes(0x7c, 0xfc)],
    ['F8_E4M3FNUZ', float8(4, 8), codes(0x80), codes()],
    ['F8_E5M2FNUZ', float8(5, 16), codes(0x80), codes()],
  ] as const)('every %s code has its value', (type, value, nan, infinite) => {
    const all = Uint8Array.from({ length: 256 }, (_, code) => code);
    const decoded = decodeFloat8(all, type);
    expect(decoded).toHaveLength(256);
    for (const [code, got] of decoded.entries()) {
      const sign = code < 128 ? 1 : -1;
      const wanted = nan.has(code) ? Number.NaN : infinite.has(code) ? sign * Infinity : value(code);
      if (!Object.is(got, wanted)) expect.fail(`code ${code}: ${got} where it is ${wanted}`);
    }
  });

  test('floats of eight bits reach what their papers say', () => {
    const extremes = (type: 'F8_E4M3' | 'F8_E5M2' | 'F8_E4M3FNUZ' | 'F8_E5M2FNUZ', ...codes: number[]) => [
      ...decodeFloat8(Uint8Array.from(codes), type),
    ];
    expect(extremes('F8_E4M3', 0x7e, 0xfe, 0x08, 0x01, 0x38, 0x80)).toEqual([448, -448, 2 ** -6, 2 ** -9, 1, -0]);
    expect(extremes('F8_E5M2', 0x7b, 0x04, 0x01, 0x3c, 0x80)).toEqual([57344, 2 ** -14, 2 ** -16, 1, -0]);
    expect(extremes('F8_E4M3FNUZ', 0x7f, 0x40)).toEqual([240, 1]);
    expect(extremes('F8_E5M2FNUZ', 0x7f, 0x40)).toEqual([57344, 1]);
  });

  test('floats of eight bits are no weights without their scales', () => {
    for (const type of ['F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'] as const) {
      expect(() => decodeToF32(new Uint8Array(4), type)).toThrow(FormatError);
      expect(() => decodeToF32(new Uint8Array(4), type)).toThrow(
        /scale them by tensors of their own.*Take the model in BF16/,
      );
    }
  });

  test('F64 is rounded to nearest', () => {
    const values = Float64Array.of(1.5, 1 + 2 ** -30, -(2 ** 200), 2 ** -160);
    expect([...decodeToF32(bytesOf(values), 'F64')]).toEqual([1.5, 1, -Infinity, 0]);
  });

  test('integers and broken lengths are refused', () => {
    expect(() => decodeToF32(new Uint8Array(8), 'I32')).toThrow(FormatError);
    expect(() => decodeToF32(new Uint8Array(7), 'F32')).toThrow(/7 bytes/);
    for (const type of ['F4', 'F6_E2M3', 'F8_E8M0', 'C64', 'BOOL'] as const) {
      expect(() => decodeToF32(new Uint8Array(24), type)).toThrow(new RegExp(`${type} can't be read as numbers`));
    }
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
