import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';

const roundTrip = (name: string, weights: ArrayLike<number>): number[] => {
  const { reference } = formatByName(name);
  return [
    ...reference.dequantize(reference.quantize(Float32Array.from(weights), 1, weights.length), 1, weights.length),
  ];
};

/** E2M1 (OCP Microscaling Formats 1.0, section 5.3.3). */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const BOTH_SIGNS = [...E2M1, ...E2M1.map((value) => -value)];

const filled = (block: number, ...head: number[]): number[] => [...head, ...new Array(block - head.length).fill(0)];

const gaussians = (count: number) =>
  fc.array(
    fc.integer({ min: -(2 ** 20), max: 2 ** 20 }).map((i) => i * 2 ** -20),
    { minLength: count, maxLength: count },
  );

describe('mxfp4', () => {
  test('weights on the grid of a power of two come back exactly', () => {
    for (const scale of [1, 2 ** -9, 2 ** 40]) {
      const weights = filled(32, ...BOTH_SIGNS.map((value) => value * scale));
      expect(roundTrip('mxfp4', weights).map((w) => w + 0)).toEqual(weights.map((w) => w + 0));
    }
  });

  test('the exponent is that of the largest magnitude minus 2; of two values as near, the smaller magnitude', () => {
    const { codes, scales } = formatByName('mxfp4').reference.quantize(
      // Scale 1 (4 = 2^2): halfway between neighbours, then beyond the largest.
      Float32Array.from(filled(32, 4, 0.25, -0.25, 0.75, 2.5, -2.5, 5, 7.9)),
      1,
      32,
    );
    expect(scales![0]).toBe(127);
    const eight = Array.from({ length: 8 }, (_, i) => (codes![i & 3]! >>> (i & 4)) & 15);
    expect(eight).toEqual([6, 0, 0, 1, 4, 12, 6, 7]);
  });

  test('errors are at most one step of the largest magnitudes, two beyond them', () => {
    fc.assert(
      fc.property(gaussians(32), (weights) => {
        const decoded = roundTrip('mxfp4', weights);
        const largest = Math.max(...weights.map(Math.abs));
        const scale = 2 ** (Math.floor(Math.log2(largest)) - 2);
        for (const [i, w] of weights.entries()) {
          expect(Math.abs(w - decoded[i]!)).toBeLessThanOrEqual(scale * (Math.abs(w) > 6 * scale ? 2 : 1));
        }
      }),
    );
  });

  test('blocks below 2^-122 are zeros, and the smallest above keeps normal values', () => {
    expect(roundTrip('mxfp4', new Array(32).fill(2 ** -123)).every((w) => w === 0)).toBe(true);
    expect(roundTrip('mxfp4', filled(32, 2 ** -122, 2 ** -125))).toEqual(filled(32, 2 ** -122, 2 ** -125));
  });
});

describe('nvfp4', () => {
  test('weights on the grid of an E4M3 scale come back exactly, group by group', () => {
    const scales = [1, 240, 2 ** -6, 13 * 2 ** -5];
    const weights = scales.flatMap((scale) => BOTH_SIGNS.map((value) => value * scale));
    expect(roundTrip('nvfp4', weights).map((w) => w + 0)).toEqual(weights.map((w) => w + 0));
  });

  test('scales are max / 6 in unsigned E4M3, halves up, subnormals below 2^-6, at most the largest code', () => {
    const byteOf = (largest: number) =>
      formatByName('nvfp4').reference.quantize(Float32Array.from(filled(64, largest)), 1, 64).scales![0];
    expect(byteOf(6)).toBe(7 << 3);
    expect(byteOf(6 * 1.0625)).toBe((7 << 3) + 1);
    expect(byteOf(6 * 1.9375)).toBe(8 << 3);
    expect(byteOf(6 * 2.5 * 2 ** -9)).toBe(3);
    expect(byteOf(6 * 0.4 * 2 ** -9)).toBe(0);
    expect(byteOf(6 * 240)).toBe((14 << 3) + 7);
    expect(byteOf(1e30)).toBe(0x7e);
  });

  test('errors are at most one step of the largest magnitudes beside the rounding of the scale', () => {
    fc.assert(
      fc.property(gaussians(64), (weights) => {
        const decoded = roundTrip('nvfp4', weights);
        for (const [i, w] of weights.entries()) {
          const group = weights.slice(i - (i % 16), i - (i % 16) + 16);
          const scale = Math.max(...group.map(Math.abs)) / 6;
          const rounding = Math.max(scale / 16, 2 ** -10);
          expect(Math.abs(w - decoded[i]!)).toBeLessThanOrEqual(scale + 7 * rounding);
        }
      }),
    );
  });
});
