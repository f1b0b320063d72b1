import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';

describe.each(['tq1_0', 'tq2_0'])('%s', (name) => {
  const { reference, codecs } = formatByName(name);
  const roundTrip = (weights: ArrayLike<number>) =>
    reference.dequantize(reference.quantize(Float32Array.from(weights), 1, weights.length), 1, weights.length);

  test('any digits come back exactly', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(-1, 0, 1), { minLength: 512, maxLength: 512 }), (digits) => {
        // Both blocks have a largest magnitude of 2.
        const weights = digits
          .with(0, 1)
          .with(256, -1)
          .map((digit) => 2 * digit);
        expect([...roundTrip(weights)].map((w) => w + 0)).toEqual(weights.map((w) => w + 0));
      }),
    );
  });

  test('a weight of half the scale rounds away from zero, one below it to zero', () => {
    const decoded = roundTrip([1, 0.5, -0.5, 0.49999997, -0.49999997, ...new Array(251).fill(0)]);
    expect([...decoded.subarray(0, 5)].map((w) => w + 0)).toEqual([1, 1, -1, 0, 0]);
  });

  test('ggml’s bytes come back from the codec', () => {
    const bytes = Uint8Array.from({ length: 2 * codecs.ggml!.bytesPerRow(256) }, (_, i) => (i * 37) & 255);
    expect(codecs.ggml!.encode(codecs.ggml!.decode(bytes, 2, 256), 2, 256)).toEqual(bytes);
  });
});

test('tq1_0: five digits of a byte are a fraction of 256, rounded up', () => {
  // Weights 0, 32, 64, 96, 128 share byte 0: digits 2, 1, 0, 1, 2 are 2·81 + 27 + 0 + 3 + 2 = 194.
  const weights = new Float32Array(256);
  weights[0] = 3;
  weights[64] = -3;
  weights[128] = 3;
  const { codes } = formatByName('tq1_0').reference.quantize(weights, 1, 256);
  expect(codes![0]).toBe(Math.ceil((194 * 256) / 243));
  // All others are ones: 121.
  expect(codes![1]).toBe(Math.ceil((121 * 256) / 243));
});
