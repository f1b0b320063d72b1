import { describe, expect, test } from 'vitest';
import { readNibble } from '../../../src/formats/codes.ts';
import { f16BitsToF32 } from '../../../src/formats/float16.ts';
import { readU16 } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';

/** `kvalues_iq4nl` in ggml-common.h. */
const LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const quantize = (name: string, weights: readonly number[]) =>
  formatByName(name).reference.quantize(Float32Array.from(weights), 1, weights.length);

const roundTrip = (name: string, weights: readonly number[]): number[] => [
  ...formatByName(name).reference.dequantize(quantize(name, weights), 1, weights.length),
];

/** Thirty-two weights with all levels, the largest first or last. */
const onLevels = (scale: number): number[] => [...LEVELS, ...LEVELS.toReversed()].map((level) => level * scale);

describe('iq4_nl', () => {
  test('weights on the levels come back exactly, under scales of either sign', () => {
    for (const scale of [1, -1, 2 ** -10, -0.375, 500]) {
      expect(roundTrip('iq4_nl', onLevels(scale))).toEqual(onLevels(scale));
    }
  });

  test('the nearest level, halfway the lower one', () => {
    const near = LEVELS.flatMap((level, i) => (i === 0 ? [] : [(level + LEVELS[i - 1]!) / 2]));
    // Most weights are on the levels, so that the scale is that of the levels.
    const weights = [...onLevels(1), ...onLevels(1)].toSpliced(16, 15, ...near);
    const { codes, scales } = quantize('iq4_nl', weights.slice(0, 32));
    const scale = f16BitsToF32(readU16(scales!, 0));
    for (const [i, w] of weights.slice(0, 32).entries()) {
      const distances = LEVELS.map((level) => Math.abs(level * scale - w));
      expect(distances[readNibble(codes!, i)]).toBeCloseTo(Math.min(...distances), 5);
    }
  });

  test('blocks of zeros, and of weights whose scale f16 has not, decode to zero', () => {
    for (const w of [0, -0, 1e-45, -1e-40, 2 ** -33]) {
      expect(roundTrip('iq4_nl', new Array(32).fill(w)).every((value) => value === 0)).toBe(true);
    }
  });

  test('a block of one value keeps it to the precision of an f16 scale', () => {
    for (const w of [1, -1, 0.3, -1234.5]) {
      for (const value of roundTrip('iq4_nl', new Array(32).fill(w))) {
        expect(Math.abs(value - w)).toBeLessThanOrEqual(Math.abs(w) * 2 ** -11);
      }
    }
  });

  test('no scale on a fine ladder does much better than the one that is found', () => {
    const weights = Array.from({ length: 32 }, (_, i) => Math.sin(i * i * 0.7 + 0.3));
    const errorUnder = (scale: number) =>
      weights.reduce((sum, w) => sum + Math.min(...LEVELS.map((level) => (level * scale - w) ** 2)), 0);
    const least = Math.min(...Array.from({ length: 4000 }, (_, i) => errorUnder((i - 2000) * 1e-5)));
    const error = roundTrip('iq4_nl', weights).reduce((sum, value, i) => sum + (value - weights[i]!) ** 2, 0);
    expect(error).toBeLessThanOrEqual(least * 1.02);
  });
});

describe('iq4_xs', () => {
  test('weights on the levels under eight multiples of a step come back exactly', () => {
    const multiples = [-32, 31, 1, -1, 7, -20, 16, 5];
    const weights = multiples.flatMap((multiple) => onLevels(multiple * 2 ** -6));
    expect(roundTrip('iq4_xs', weights)).toEqual(weights);
  });

  test('ggml’s order: d, two bits of each multiple, four bits of each, codes', () => {
    const multiples = [-32, 31, 1, -1, 7, -20, 16, 5];
    const format = formatByName('iq4_xs');
    const weights = multiples.flatMap(onLevels);
    const bytes = format.codecs.ggml!.encode(quantize('iq4_xs', weights), 1, 256);
    expect(bytes).toHaveLength(136);
    expect(readU16(bytes, 0)).toBe(0x3c00);
    const stored = multiples.map((_, j) => {
      const high = (readU16(bytes, 1) >> (2 * j)) & 3;
      const low = (bytes[4 + (j >> 1)]! >> (4 * (j & 1))) & 15;
      return (low | (high << 4)) - 32;
    });
    expect(stored).toEqual(multiples);
    // A byte of codes has weight j below and weight j + 16 above: the levels rise in one, fall in the other.
    expect([...bytes.subarray(8, 24)]).toEqual(Array.from({ length: 16 }, (_, j) => j | ((15 - j) << 4)));
  });
});
