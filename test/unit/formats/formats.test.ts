import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CompressaError, FormatError, NonFiniteError } from '../../../src/errors.ts';
import { f16BitsToF32 } from '../../../src/formats/float16.ts';
import type { Format } from '../../../src/formats/format.ts';
import { integerName, integerParameters, parseIntegerName } from '../../../src/formats/integer-names.ts';
import { arrayBytes, groupOf, readU16 } from '../../../src/formats/layout.ts';
import { checkRow, formatByName, formats } from '../../../src/formats/registry.ts';

const blockFormats = formats.filter((format) => format.kind === 'block');

/** Rows of whole blocks with magnitudes of one random scale, some weights zero. */
const matrix = (block: number, exponent = { min: -12, max: 12 }) =>
  fc
    .record({
      rows: fc.integer({ min: 1, max: 3 }),
      blocks: fc.integer({ min: 1, max: 3 }),
      exponent: fc.integer(exponent),
    })
    .chain(({ rows, blocks, exponent }) => {
      const k = blocks * block;
      const weight = fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: -(2 ** 20), max: 2 ** 20 }).map((i) => i * 2 ** (exponent - 20)) },
        { weight: 1, arbitrary: fc.constantFrom(0, -0, 2 ** exponent, -(2 ** exponent)) },
      );
      const weights = fc.array(weight, { minLength: rows * k, maxLength: rows * k });
      return weights.map((values) => ({ rows, k, weights: Float32Array.from(values) }));
    });

const roundTrip = (name: string, weights: ArrayLike<number>, rows = 1): number[] => {
  const { reference } = formatByName(name);
  const k = weights.length / rows;
  return [...reference.dequantize(reference.quantize(Float32Array.from(weights), rows, k), rows, k)];
};

const filled = (block: number, ...head: number[]): Float32Array => {
  const weights = new Float32Array(block);
  weights.set(head);
  return weights;
};

/** Largest |w − decoded| that the rule of each format allows in a block. */
function allowedError(name: string, block: Float32Array, scale: number): number {
  const step = Math.abs(scale);
  const integer = parseIntegerName(name);
  const bits = integer?.bits ?? (name === 'q8_0' ? 8 : name.startsWith('q5') ? 5 : 4);
  const half = 2 ** (bits - 1);
  // The stored scale is off by half a unit of f16, which counts as often as the largest |code − zero|.
  const scaleError = Math.max(step * 2 ** -11, 2 ** -25) * (1 + 2 ** -10);
  if (name === 'q8_0') return step / 2 + 127 * scaleError;
  if (integer?.zero === 'code') return step / 2 + (2 ** bits - 1) * scaleError;
  // The zero point is rounded like the scale, and counts once.
  if (integer?.zero === 'float') return step / 2 + (2 ** bits - 1) * (scaleError + step * 2 ** -11);
  if (name.endsWith('_1')) {
    const minimum = Math.abs(Math.min(...block));
    return step / 2 + (2 ** bits - 1) * scaleError + Math.max(minimum * 2 ** -11, 2 ** -25) * (1 + 2 ** -10);
  }
  // The weight opposite to the one that sets the scale may need the code 2^bits: it is clipped by up to one step.
  const opposite = step === 0 || block.some((w) => w / scale > half - 1);
  return (opposite ? step : step / 2) + half * scaleError;
}

/** A row: groups of whole rows have no length of their own. */
const rowOf = (format: Format): number => (format.wholeRows ? 40 * format.block : format.block);
const named = (list: readonly Format[]) => list.map((format) => [format.name, format] as const);

// Others have scales of a byte or search for them: float4.test.ts and iq4.test.ts hold them to their own rules.
const scaledByHalves = blockFormats.filter(
  ({ searched, arrays }) => !searched && arrays.some((array) => array.name === 'scales' && array.type === 'F16'),
);

describe.each(named(scaledByHalves))('%s', (name, format) => {
  const block = rowOf(format);
  const scalesOf = (weights: Float32Array, rows: number, k: number): number[] => {
    const { scales } = format.reference.quantize(weights, rows, k);
    return Array.from({ length: (rows * k) / groupOf(format, k) }, (_, i) => f16BitsToF32(readU16(scales!, i)));
  };

  test('decodes within the error that its rule allows', () => {
    fc.assert(
      fc.property(matrix(block), ({ rows, k, weights }) => {
        const decoded = roundTrip(name, weights, rows);
        for (const [b, scale] of scalesOf(weights, rows, k).entries()) {
          const group = groupOf(format, k);
          const values = weights.subarray(b * group, (b + 1) * group);
          const allowed = allowedError(name, values, scale);
          for (const [i, w] of values.entries()) {
            expect(Math.abs(w - decoded[b * group + i]!)).toBeLessThanOrEqual(allowed);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('zeros, negative zeros and weights below the smallest scale decode to zero', () => {
    for (const w of [0, -0, 1e-45, -1e-40, 2 ** -126, 2 ** -33, -(2 ** -33)]) {
      const decoded = roundTrip(name, new Float32Array(block).fill(w));
      expect(decoded.every((value) => value === 0)).toBe(true);
    }
  });

  test('a single weight keeps its value to the precision of its f16 scale, whatever its sign', () => {
    for (const w of [1, -1, 0.3, -0.3, 1234.5]) {
      const decoded = roundTrip(name, filled(block, 0, w));
      // A zero point that is rounded, too, is as far off, and then no code is exactly zero.
      const float = format.integer?.zero === 'float';
      expect(Math.abs(decoded[1]! - w)).toBeLessThanOrEqual(Math.abs(w) * 2 ** (float ? -10 : -11));
      // Zero above a negative minimum is levels · scale + minimum: two roundings to f16 away.
      const minimum = format.arrays.some((array) => array.name === 'minima') && w < 0;
      const apart = minimum || float ? Math.abs(w) * 2 ** -10 : 0;
      expect(decoded.filter((value) => Math.abs(value) > apart)).toHaveLength(1);
    }
  });
});

test.each(named(blockFormats.filter(({ block }) => block > 1)))(
  '%s refuses a row that is no multiple of its block, and says what would fit',
  (_, format) => {
    const block = rowOf(format);
    expect(() => checkRow(format, block * 7, 'w')).not.toThrow();
    expect(() => checkRow(format, block + 1, 'blk.0.q')).toThrow(FormatError);
    expect(() => checkRow(format, block + 1, 'blk.0.q')).toThrow(/"blk\.0\.q".*No block size/);
  },
);

describe.each(named(blockFormats))('%s', (name, format) => {
  const block = rowOf(format);

  test('arrays have the sizes that the layout states', () => {
    const arrays = format.reference.quantize(new Float32Array(3 * block), 3, block);
    const sizes = format.arrays.map((array) => [array.name, arrayBytes(array, 3, block)]);
    expect(Object.entries(arrays).map(([array, bytes]) => [array, bytes.length])).toEqual(sizes);
    expect(sizes.every(([, size]) => Number(size) % 4 === 0)).toBe(true);
  });

  test('huge finite weights saturate: nothing decodes to infinity or to the other sign', () => {
    for (const w of [1e7, 3.4e38]) {
      for (const weights of [filled(block, w, -w), filled(block, -w, w, 1), filled(block, w)]) {
        const decoded = roundTrip(name, weights);
        expect(decoded.every(Number.isFinite)).toBe(true);
        // A small weight among them is within the rounding of the others.
        expect(decoded.filter((value, i) => Math.abs(weights[i]!) > 1 && value * weights[i]! < 0)).toEqual([]);
      }
    }
  });

  test('names row and column of a weight that is not finite', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const weights = new Float32Array(2 * block);
      weights[block + 5] = bad;
      const quantize = () => format.reference.quantize(weights, 2, block);
      expect(quantize).toThrow(NonFiniteError);
      expect(quantize).toThrow('row 1, column 5');
    }
  });

  test('refuses arrays of the wrong size', () => {
    const arrays = format.reference.quantize(new Float32Array(block), 1, block);
    expect(() => format.reference.dequantize({ ...arrays, scales: new Uint8Array(1) }, 1, block)).toThrow(
      CompressaError,
    );
  });
});

describe('weights on the grid come back exactly', () => {
  test.each([
    ['q8_0', Array.from({ length: 32 }, (_, i) => (i - 5) * 0.25).with(0, -31.75)],
    ['q4_0', Array.from({ length: 32 }, (_, i) => ((i % 16) - 8) * 0.5)],
    ['q4_0', Array.from({ length: 32 }, (_, i) => (8 - (i % 16)) * 0.5)],
    ['q4_1', Array.from({ length: 32 }, (_, i) => ((i % 16) - 3) * 0.5)],
    ['q4_1', Array.from({ length: 32 }, (_, i) => 100 + (i % 16) * 0.5)],
    ['q5_0', Array.from({ length: 32 }, (_, i) => (i - 16) * 0.25)],
    ['q5_0', Array.from({ length: 32 }, (_, i) => (16 - i) * 0.25)],
    ['q5_1', Array.from({ length: 32 }, (_, i) => (i - 5) * 0.5)],
    ['q5_1', Array.from({ length: 32 }, (_, i) => -100 - ((i * 7) % 32) * 0.5)],
    ['int4-g32', Array.from({ length: 32 }, (_, i) => ((i % 16) - 8) * 0.5)],
    ['int4-g32', Array.from({ length: 32 }, (_, i) => (8 - (i % 16)) * 0.5)],
    ['int8-g64', Array.from({ length: 64 }, (_, i) => (i - 32) * 4)],
    ['int8-g128', Array.from({ length: 128 }, (_, i) => (i - 128) * 0.125)],
    ['int4-g32-asym', Array.from({ length: 32 }, (_, i) => ((i % 16) - 3) * 0.5)],
    ['int4-g64-asym', Array.from({ length: 64 }, (_, i) => (i % 16) * -0.5)],
    ['int3-g64', Array.from({ length: 64 }, (_, i) => ((i % 8) - 4) * 0.5)],
    ['int3-g32-asym', Array.from({ length: 32 }, (_, i) => ((i % 8) - 6) * 0.25)],
    ['int3-row-fzp', Array.from({ length: 48 }, (_, i) => ((i % 8) - 3) * 0.25)],
    ['int2-g16', Array.from({ length: 16 }, (_, i) => (2 - (i % 4)) * 3)],
    ['int2-g64-asym-bf16', Array.from({ length: 64 }, (_, i) => ((i % 4) - 1) * 0.5)],
    ['int2-g32-fzp-f32', Array.from({ length: 32 }, (_, i) => ((i % 4) - 2) * 0.1).map(Math.fround)],
    ['int8-g128-asym', Array.from({ length: 128 }, (_, i) => (((i * 255) / 127) | 0) * 0.5)],
  ])('%s', (name, weights) => {
    expect(roundTrip(name, weights).map((w) => w + 0)).toEqual(weights.map((w) => w + 0));
  });
});

describe('codes by hand', () => {
  const codesOf = (name: string, block: number, ...head: number[]) =>
    formatByName(name).reference.quantize(filled(block, ...head), 1, block);

  test('q8_0: halves away from zero', () => {
    // d = 1, codes are the weights rounded.
    const { codes, scales } = codesOf('q8_0', 32, 127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49999997);
    expect([...new Int8Array(codes!.buffer, 0, 8)]).toEqual([127, 1, -1, 2, -2, 3, -3, 0]);
    expect(readU16(scales!, 0)).toBe(0x3c00);
  });

  test('q4_0: first weight of largest magnitude gives scale and sign; halves go up; layout of the nibbles', () => {
    // d = 8 / -8 = -1: code = trunc(8.5 - w).
    const { codes, scales } = codesOf('q4_0', 32, 8, -8, 0.5, -0.5, 1.5, -1.5, 7, -7);
    expect(f16BitsToF32(readU16(scales!, 0))).toBe(-1);
    // Weights 0..7 have codes 0, 15 (16 is clipped), 8, 9, 7, 10, 1, 15; byte b holds weight b low and 4 + b high.
    expect([...codes!.subarray(0, 4)]).toEqual([0 | (7 << 4), 15 | (10 << 4), 8 | (1 << 4), 9 | (15 << 4)]);
    const flipped = codesOf('q4_0', 32, -8, 8);
    expect(f16BitsToF32(readU16(flipped.scales!, 0))).toBe(1);
  });

  test('q4_0: the scale of a block of zeros is ggml’s negative zero', () => {
    expect(readU16(codesOf('q4_0', 32).scales!, 0)).toBe(0x8000);
  });

  /** Codes of weights 0 .. 7, by the layout that shaders/formats states. */
  const eight = ({ codes, high }: Record<string, Uint8Array>) =>
    Array.from({ length: 8 }, (_, i) => {
      const fifth = high ? (high[0]! >>> i) & 1 : 0;
      return ((codes![i & 3]! >>> (i & 4)) & 15) + 16 * fifth;
    });
  const halfFloats = (bytes: Uint8Array | undefined) => f16BitsToF32(readU16(bytes!, 0));

  test('q5_0: first weight of largest magnitude gives scale and sign; halves go up', () => {
    // d = -16 / -16 = 1: code = trunc(w + 16.5), at most 31.
    const arrays = codesOf('q5_0', 32, -16, 16, 15, 0.5, -0.5, -1.5, 7.25, -15.75);
    expect([halfFloats(arrays.scales), ...eight(arrays)]).toEqual([1, 0, 31, 31, 17, 16, 15, 23, 0]);
    // Weights 8 .. 31 are zero: code 16, so low bits of 0 and the fifth bit set.
    expect([...arrays.high!]).toEqual([0b01011110, 255, 255, 255]);
    expect(arrays.codes!.subarray(4).every((byte) => byte === 0)).toBe(true);
    expect(halfFloats(codesOf('q5_0', 32, 16, -16).scales)).toBe(-1);
    expect(readU16(codesOf('q5_0', 32).scales!, 0)).toBe(0x8000);
  });

  test('q4_1 and q5_1: the smallest weight is the minimum, the largest has the last code; halves go up', () => {
    // d = 1, m = -1: code = trunc(w + 1.5).
    const four = codesOf('q4_1', 32, -1, 14, 0.5, -0.5, 1.25, 13.5, 0.49, 7);
    expect([halfFloats(four.scales), halfFloats(four.minima)]).toEqual([1, -1]);
    expect(eight(four)).toEqual([0, 15, 2, 1, 2, 15, 1, 8]);
    const five = codesOf('q5_1', 32, -1, 30, 0.5, -0.5, 15, 14.49, 29.5, 29.49);
    expect([halfFloats(five.scales), halfFloats(five.minima)]).toEqual([1, -1]);
    expect(eight(five)).toEqual([0, 31, 2, 1, 16, 15, 31, 30]);
  });

  test.each(['q4_1', 'q5_1'])('%s: edges of the minimum', (name) => {
    const bits = (weights: Float32Array) => {
      const { scales, minima } = formatByName(name).reference.quantize(weights, 1, 32);
      return [readU16(scales!, 0), readU16(minima!, 0)];
    };
    // A block of one value is its minimum.
    expect(bits(new Float32Array(32).fill(-2))).toEqual([0, 0xc000]);
    expect(roundTrip(name, new Float32Array(32).fill(0.1))).toEqual(Array(32).fill(f16BitsToF32(0x2e66)));
    // Of zeros of both signs the first, as C compares them.
    expect(bits(filled(32, 0, -0))[1]).toBe(0);
    expect(bits(filled(32, -0, 0))[1]).toBe(0x8000);
    expect(bits(filled(32, 1, -0, 0))[1]).toBe(0x8000);
    // Minima that f16 can't hold become its largest, and the weights the nearest value that is left.
    expect(roundTrip(name, new Float32Array(32).fill(1e30))).toEqual(Array(32).fill(65504));
    expect(roundTrip(name, new Float32Array(32).fill(-1e30))).toEqual(Array(32).fill(-65504));
    const levels = name === 'q4_1' ? 15 : 31;
    const high = roundTrip(
      name,
      filled(32)
        .fill(1e6)
        .fill(1e6 + levels, 16),
    );
    expect(high).toEqual(Array(32).fill(65504 + levels));
    // A step that f16 can't hold: weights beyond the last code are clipped to it.
    expect(roundTrip(name, filled(32, 3e38, 65504, 131008))).toEqual([
      levels * 65504,
      65504,
      131008,
      ...Array(29).fill(0),
    ]);
    // Steps below 2^-100 count as zero.
    const tiny = formatByName(name).reference.quantize(filled(32, 2 ** -110, 2 ** -111), 1, 32);
    expect(tiny.codes!.every((byte) => byte === 0)).toBe(true);
  });

  test('int4: halves to even, signed scale', () => {
    const { codes, scales } = codesOf('int4-g32', 32, -8, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 9 - 1.5);
    expect(f16BitsToF32(readU16(scales!, 0))).toBe(1);
    expect([...codes!.subarray(0, 4)]).toEqual([0 | (8 << 4), 8 | (6 << 4), 10 | (6 << 4), 10 | (15 << 4)]);
  });

  test('int8: codes stored signed', () => {
    const { codes } = codesOf('int8-g32', 32, -128, 127.4, 0.5, 1.5, -1.5);
    expect([...new Int8Array(codes!.buffer, 0, 5)]).toEqual([-128, 127, 0, 2, -2]);
  });

  test('asymmetric: zero point inside the codes, zero itself exact', () => {
    const { codes, scales, zeros } = codesOf('int4-g32-asym', 32, -3, 12, 0, 4.5, 5.5);
    expect([f16BitsToF32(readU16(scales!, 0)), zeros![0]]).toEqual([1, 3]);
    expect([...codes!.subarray(0, 4).map((byte) => byte & 15)]).toEqual([0, 15, 3, 7]);
    expect(codes![0]! >>> 4).toBe(9);
    const positive = codesOf('int8-g32-asym', 32, ...Array.from({ length: 32 }, (_, i) => 1 + i));
    expect(positive.zeros![0]).toBe(0);
  });
});

describe('dense formats', () => {
  test('f32 is exact; f16 and bf16 saturate and round', () => {
    const weights = [1, -2.5, 1e-45, 65520, -1e30, 3.4e38, 1 + 2 ** -11];
    expect(roundTrip('f32', weights)).toEqual([...Float32Array.from(weights)]);
    expect(roundTrip('f16', weights)).toEqual([1, -2.5, 0, 65504, -65504, 65504, 1]);
    expect(roundTrip('bf16', weights)[5]).toBe((2 - 2 ** -7) * 2 ** 127);
  });

  test('odd lengths are padded to whole words', () => {
    for (const name of ['f16', 'bf16']) {
      const { data } = formatByName(name).reference.quantize(Float32Array.of(1, 2, 3), 1, 3);
      expect(data).toHaveLength(8);
    }
  });

  test('names a weight that is not finite', () => {
    for (const name of ['f32', 'f16', 'bf16']) {
      expect(() => formatByName(name).reference.quantize(Float32Array.of(0, Number.NaN), 1, 2)).toThrow('column 1');
    }
  });
});

const withCodec = formats.filter((format) => format.codecs.ggml);
describe.each(withCodec.map((format) => [format.name, format] as const))('ggml codec of %s', (_name, format) => {
  const codec = format.codecs.ggml!;

  test('bytes and arrays survive both ways', () => {
    fc.assert(
      fc.property(matrix(format.block), ({ rows, k, weights }) => {
        const arrays = format.reference.quantize(weights, rows, k);
        const bytes = codec.encode(arrays, rows, k);
        expect(bytes).toHaveLength(rows * codec.bytesPerRow(k));
        expect(codec.decode(bytes, rows, k)).toEqual(arrays);
      }),
      { numRuns: 30 },
    );
    const k = 3 * format.block;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: codec.bytesPerRow(k), maxLength: codec.bytesPerRow(k) }), (bytes) => {
        expect(codec.encode(codec.decode(bytes, 1, k), 1, k)).toEqual(bytes);
      }),
    );
  });

  test('refuses bytes of another length', () => {
    expect(() => codec.decode(new Uint8Array(codec.bytesPerRow(format.block) + 1), 1, format.block)).toThrow(
      FormatError,
    );
  });
});

test('ggml q4_0 puts weight j and j + 16 in byte j, q8_0 keeps order; both put d first', () => {
  const ramp = Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? i - 8 : 0)).with(0, -8);
  const q4 = formatByName('q4_0');
  const bytes = q4.codecs.ggml!.encode(q4.reference.quantize(ramp, 1, 32), 1, 32);
  expect([...bytes]).toEqual([0x00, 0x3c, ...Array.from({ length: 16 }, (_, j) => j | (8 << 4))]);
  const q8 = formatByName('q8_0');
  const wide = Float32Array.from({ length: 32 }, (_, i) => i - 16).with(31, 127);
  const stored = q8.codecs.ggml!.encode(q8.reference.quantize(wide, 1, 32), 1, 32);
  expect([...stored]).toEqual([0x00, 0x3c, ...Array.from(wide, (w) => w & 255)]);
});

test('ggml q4_1 puts d and m first, q5_0 and q5_1 the fifth bits between them and the codes', () => {
  const bytesOf = (name: string, weights: Float32Array) => {
    const { reference, codecs } = formatByName(name);
    return [...codecs.ggml!.encode(reference.quantize(weights, 1, 32), 1, 32)];
  };
  const ramp = Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? i : 0) - 2);
  const nibbles = Array.from({ length: 16 }, (_, j) => j);
  expect(bytesOf('q4_1', ramp)).toEqual([0x00, 0x3c, 0x00, 0xc0, ...nibbles]);
  // Codes 0 .. 31 in order: weight j + 16 has the same four low bits as weight j, and the upper half of the fifth bits.
  const wide = Float32Array.from({ length: 32 }, (_, i) => i - 16);
  const both = Array.from({ length: 16 }, (_, j) => j | (j << 4));
  expect(bytesOf('q5_0', wide)).toEqual([0x00, 0x3c, 0, 0, 255, 255, ...both]);
  expect(bytesOf('q5_1', wide)).toEqual([0x00, 0x3c, 0x00, 0xcc, 0, 0, 255, 255, ...both]);
});

describe('integer groups', () => {
  test('three-bit codes follow each other from the lowest bit on, 32 in three words', () => {
    // Scale −1, codes 4 − w: the codes of 32 weights as one number, the first in its lowest bits.
    const codes = Array.from({ length: 32 }, (_, i) => (i * 5 + (i >> 3)) % 8).with(0, 0);
    const stored = formatByName('int3-g32').reference.quantize(
      Float32Array.from(codes, (code) => 4 - code),
      1,
      32,
    );
    const number = codes.reduce((sum, code, i) => sum + (BigInt(code) << BigInt(3 * i)), 0n);
    expect([...stored.codes!]).toEqual(Array.from({ length: 12 }, (_, i) => Number((number >> BigInt(8 * i)) & 255n)));
    expect(f16BitsToF32(readU16(stored.scales!, 0))).toBe(-1);
  });

  test('two-bit codes follow each other from the lowest bit on', () => {
    const stored = formatByName('int2-g16').reference.quantize(
      Float32Array.from({ length: 16 }, (_, i) => 2 - (i % 4)),
      1,
      16,
    );
    expect([...stored.codes!]).toEqual([0b11100100, 0b11100100, 0b11100100, 0b11100100]);
  });

  test.each([
    ['int4-g64-asym', 256, 2],
    ['int4-g64-asym', 192, 3],
    ['int3-g64-asym', 256, 2],
    ['int2-g64-asym', 256, 1],
    ['int2-g128-asym', 256, 1],
    ['int2-row-asym', 256, 1],
    ['int8-g64-asym', 256, 4],
    ['int4-g64-fzp', 256, 4],
    ['int4-row-fzp-f32', 80, 1],
  ])('%s: zero points of a row of %i take %i elements', (name, k, elements) => {
    const zeros = formatByName(name).arrays[2]!;
    expect([zeros.name, zeros.elementsPerRow(k)]).toEqual(['zeros', elements]);
  });

  test('any name of the grammar is a format, which keeps weights to its precision', () => {
    fc.assert(
      fc.property(fc.constantFrom(...integerParameters), fc.integer({ min: 0 }), (parameters, seed) => {
        const name = integerName(parameters);
        const format = formatByName(name);
        expect(format.name).toBe(name);
        const k = 2 * format.block;
        const weights = Float32Array.from({ length: 3 * k }, (_, i) => Math.sin(i * i + seed));
        const host = format.reference.quantize(weights, 3, k);
        const decoded = format.reference.dequantize(host, 3, k);
        const levels = 2 ** parameters.bits - 1;
        // Half a step of a range of at most 2 above the middle's 2 / levels, which also clips; bf16 adds a 2^8th.
        const step = parameters.zero === 'middle' ? 2 / (levels + 1) : 1 / levels;
        for (const [i, w] of weights.entries()) expect(Math.abs(decoded[i]! - w)).toBeLessThanOrEqual(step + 2 ** -7);
      }),
      { numRuns: 200 },
    );
  });

  test.each(['int4-g48', 'int5-g32', 'int4-g64-sym', 'int4-g64-f32-asym', 'int4-gRow', 'int4-g064'])(
    '%s is no format, and the message says which there are',
    (name) => {
      expect(() => formatByName(name)).toThrow(FormatError);
      expect(() => formatByName(name)).toThrow(/int<8, 4, 3 or 2>-g<16, 32, 64, 128 or 256>/);
    },
  );

  test('a scale for a row asks for rows of whole chunks', () => {
    expect(() => checkRow(formatByName('int4-row'), 80, 'w')).not.toThrow();
    expect(() => checkRow(formatByName('int4-row'), 72, 'w')).toThrow(FormatError);
    expect(() => checkRow(formatByName('int3-g64-asym'), 96, 'w')).toThrow(/: 16, 32\. Choose .*int3-g32-asym/);
  });
});

describe('registry', () => {
  test('names are unique, aliases resolve', () => {
    expect(new Set(formats.map((format) => format.name)).size).toBe(formats.length);
    expect(formatByName('int8').name).toBe('int8-g32');
    expect(formatByName('int4').name).toBe('int4-g32');
    for (const format of formats) expect(formatByName(format.name)).toBe(format);
  });

  test('an unknown name gets the nearest one and the list', () => {
    expect(() => formatByName('Q4-0')).toThrow(FormatError);
    expect(() => formatByName('Q4-0')).toThrow(/Did you mean "q4_0"\?.*int4-g128-asym/);
  });

  test('an ill-fitting row is told which blocks fit', () => {
    expect(() => checkRow(formatByName('int4-g128'), 192, 'w')).toThrow(/32, 64\. Choose .*int4-g64/);
  });
});
