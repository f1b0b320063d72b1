import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { type RopeOptions, ropeOf, ropeSchema } from '../../../src/models/rope.ts';

const fail = (problem: string): never => {
  throw new Error(problem);
};
const rope = (options: Omit<RopeOptions, 'fail' | 'scaling'>, scaling?: object) =>
  ropeOf({ ...options, scaling: scaling && v.parse(ropeSchema, scaling), fail });

/** Relative, since the slowest waves turn a million times less than the fastest. */
const expectClose = (actual: readonly number[], expected: readonly number[], relative: number) => {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(actual[i]! / value - 1), `pair ${i}: ${actual[i]}`).toBeLessThan(relative);
  }
};

// Four pairs that turn by 1, 1/10, 1/100 and 1/1000.
const four = { headDim: 8, theta: 10000, maxPositions: 4096 };

describe('worked out by hand', () => {
  test('none, linear, and dynamic up to the positions that the model was made for', () => {
    const plain = [1, 0.1, 0.01, 0.001];
    expectClose(rope(four).rotary.inverseFrequencies, plain, 1e-14);
    expectClose(rope(four, { type: 'dynamic', factor: 8 }).rotary.inverseFrequencies, plain, 1e-14);
    const linear = rope(four, { rope_type: 'linear', factor: 4 });
    expectClose(linear.rotary.inverseFrequencies, [0.25, 0.025, 0.0025, 0.00025], 1e-14);
    expect(linear.attentionFactor).toBe(1);
  });

  test('Llama 3: short waves stay, long ones are divided, between them it depends on the turns', () => {
    const scaling = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 1024,
    };
    // Turns within 1024 positions: 163, 16.3, 1.6297466173, 0.163. The third keeps (1.6297466173 - 1) / 3 = 0.2099155391 of itself:
    // 0.01 · (0.2099155391 + 0.7900844609 / 8) = 0.003086760967.
    const { rotary, attentionFactor } = rope(four, scaling);
    expectClose(rotary.inverseFrequencies, [1, 0.1, 0.003086760967, 0.000125], 1e-10);
    expect(attentionFactor).toBe(1);
  });

  test('YaRN: a ramp between the pairs that turn 32 times and once', () => {
    const scaling = { type: 'yarn', factor: 4, original_max_position_embeddings: 2048 };
    // 8 · ln(2048 / (32 · 2π)) / (2 · ln 10000) = 1.00799, rounded down 1; 8 · ln(2048 / 2π) / (2 · ln 10000) = 2.51315, up 3.
    // So the third pair is halfway: 0.01 · (1/2 + 1/2 · 1/4).
    const { rotary, attentionFactor } = rope(four, scaling);
    expectClose(rotary.inverseFrequencies, [1, 0.1, 0.00625, 0.00025], 1e-12);
    expect(attentionFactor).toBeCloseTo(1 + 0.1 * Math.log(4), 14);

    // Without rounding: (2 - 1.00799) / 1.50516 = 0.65907 of the way.
    const exact = rope(four, { ...scaling, truncate: false });
    expectClose(exact.rotary.inverseFrequencies, [1, 0.1, 0.005057, 0.00025], 1e-5);
  });

  test("YaRN's factor on the attention: given, by mscale, or none where nothing is stretched", () => {
    const factor = (fields: object) => rope(four, { type: 'yarn', factor: 40, ...fields }).attentionFactor;
    expect(factor({ attention_factor: 0.5 })).toBe(0.5);
    // 0.1 · ln 40 = 0.36888795: (1 + 2 · 0.36888795) / (1 + 0.36888795).
    expect(factor({ mscale: 2, mscale_all_dim: 1 })).toBeCloseTo(1.7377759 / 1.3688879, 7);
    expect(factor({ mscale: 1, mscale_all_dim: 1 })).toBe(1);
    expect(factor({ factor: 1 })).toBe(1);
  });

  test('without a factor YaRN stretches from the original positions to those of the model', () => {
    const scaling = { type: 'yarn', original_max_position_embeddings: 1024 };
    expect(rope(four, scaling)).toEqual(rope(four, { ...scaling, factor: 4 }));
  });
});

// Heads of 128, theta 10000, 2048 positions, factor 10: single values of the tables that Hugging Face's tests of
// Transformers hold their implementation to, printed with five digits.
describe('published values', () => {
  const published = { headDim: 128, theta: 10000, maxPositions: 2048 };
  const check = (scaling: object, values: Record<number, number>) => {
    const { inverseFrequencies } = rope(published, scaling).rotary;
    expect(inverseFrequencies.length).toBe(64);
    expectClose(
      Object.keys(values).map((i) => inverseFrequencies[Number(i)]!),
      Object.values(values),
      1e-4,
    );
  };

  test('YaRN', () => {
    check(
      { rope_type: 'yarn', factor: 10, beta_fast: 32, beta_slow: 1 },
      { 0: 1, 16: 0.1, 17: 8.3479e-2, 24: 2.2515e-2, 32: 4.24e-3, 40: 4.3007e-4, 41: 2.7384e-4, 63: 1.1548e-5 },
    );
  });

  test('Llama 3', () => {
    check(
      {
        rope_type: 'llama3',
        factor: 10,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 2048,
      },
      { 0: 1, 30: 1.3335e-2, 31: 1.073e-2, 35: 2.8248e-3, 40: 3.4539e-4, 41: 2.7384e-4, 63: 1.1548e-5 },
    );
  });
});
