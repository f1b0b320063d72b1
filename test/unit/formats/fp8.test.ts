import { describe, expect, test } from 'vitest';
import { FLOAT8, float8Code } from '../../../src/formats/fp8.ts';
import { formatByName } from '../../../src/formats/registry.ts';

/** Values of a type from its definition in words: a sign, an exponent, a fraction; of e4m3 only all ones is NaN, of e5m2 as of IEEE 754. */
function valueOfCode(type: keyof typeof FLOAT8, code: number): number {
  const [bits, bias] = type === 'e4m3' ? [3, 7] : [2, 15];
  const exponent = (code & 0x7f) >> bits;
  const fraction = (code & ((1 << bits) - 1)) / (1 << bits);
  const sign = code < 0x80 ? 1 : -1;
  if (type === 'e4m3' && (code & 0x7f) === 0x7f) return Number.NaN;
  if (type === 'e5m2' && exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

describe.each(['e4m3', 'e5m2'] as const)('%s', (type) => {
  const values = Array.from({ length: 256 }, (_, code) => valueOfCode(type, code));
  const positive = values.slice(0, 128).filter(Number.isFinite);

  test('every code decodes to the value of the specification', () => {
    const { reference } = formatByName(`${type}-g256`);
    const host = reference.quantize(new Float32Array(256).fill(1), 1, 256);
    host.codes = Uint8Array.from({ length: 256 }, (_, code) => code);
    // A scale of one.
    new Float32Array(host.scales!.buffer)[0] = 1;
    expect([...reference.dequantize(host, 1, 256)]).toEqual(values);
    expect(positive.at(-1)).toBe(FLOAT8[type].largest);
  });

  test('every finite value has its own code, and halfway between two the even one is taken', () => {
    for (const [code, value] of positive.entries()) {
      expect(float8Code(value, FLOAT8[type])).toBe(code);
      expect(float8Code(-value, FLOAT8[type])).toBe(code === 0 ? 0 : code | 0x80);
      if (code + 1 === positive.length) continue;
      const middle = (value + positive[code + 1]!) / 2;
      const [below, above] = [middle * (1 - 2 ** -24), middle * (1 + 2 ** -23)].map(Math.fround) as [number, number];
      expect(float8Code(middle, FLOAT8[type])).toBe(code % 2 === 0 ? code : code + 1);
      expect(float8Code(below, FLOAT8[type])).toBe(code);
      expect(float8Code(above, FLOAT8[type])).toBe(code + 1);
    }
  });

  test('what is larger than all values becomes the largest', () => {
    for (const x of [FLOAT8[type].largest * 1.01, FLOAT8[type].largest * 2, 3e38]) {
      expect(float8Code(x, FLOAT8[type])).toBe(positive.length - 1);
      expect(float8Code(-x, FLOAT8[type])).toBe((positive.length - 1) | 0x80);
    }
  });

  test('the largest weight of a group keeps its value to the precision of the scale, and the others to that of the type', () => {
    const { reference } = formatByName(`${type}-g32`);
    const weights = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * 7.3) * (i < 32 ? 1 : 1e-6));
    const decoded = reference.dequantize(reference.quantize(weights, 2, 32), 2, 32);
    const half = 2 ** -(FLOAT8[type].mantissa + 1);
    for (const [i, w] of weights.entries()) {
      const group = weights.subarray(32 * Math.floor(i / 32), 32 * Math.floor(i / 32) + 32);
      const largest = group.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const smallest = (largest / FLOAT8[type].largest) * positive[1]!;
      const allowed = Math.max(Math.abs(w) * half, smallest / 2) * (1 + 2 ** -20);
      expect(Math.abs(decoded[i]! - w)).toBeLessThanOrEqual(Math.abs(w) === largest ? largest * 2 ** -22 : allowed);
    }
  });
});
