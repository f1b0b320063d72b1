import { describe, expect, test } from 'vitest';
import { ArgumentError, NonFiniteError } from '../../../src/errors.ts';
import { pcg, randomU32, randomUniform } from '../../../src/graph/reference/random.ts';
import { chooseToken } from '../../../src/graph/reference/sampling.ts';

// The published definition again, in integers without a word size.
const M = 2n ** 32n;
const pcgBig = (input: bigint): bigint => {
  const state = (input * 747796405n + 2891336453n) % M;
  const word = (((state >> ((state >> 28n) + 4n)) ^ state) * 277803737n) % M;
  return (word >> 22n) ^ word;
};

describe('counter-based random numbers', () => {
  test('equal the definition', () => {
    for (const x of [0, 1, 2, 12345, 0x7fffffff, 0x80000000, 0xffffffff]) {
      expect(pcg(x)).toBe(Number(pcgBig(BigInt(x))));
      expect(randomU32(x, 77)).toBe(Number(pcgBig((pcgBig(BigInt(x)) + 77n) % M)));
      expect(randomU32(3, x)).toBe(Number(pcgBig((pcgBig(3n) + BigInt(x)) % M)));
    }
  });

  test('are even over [0, 1), exact in f32, and differ by seed', () => {
    const count = 20000;
    const buckets = new Array<number>(10).fill(0);
    for (let position = 0; position < count; position++) {
      const u = randomUniform(42, position);
      expect(Math.fround(u) === u && u >= 0 && u < 1).toBe(true);
      buckets[Math.floor(u * 10)]!++;
    }
    // Chi squared with 9 degrees of freedom: above 28 once in a thousand seeds, and this seed is fixed.
    const expected = count / 10;
    expect(buckets.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)).toBeLessThan(28);
    const equal = Array.from({ length: 100 }, (_, i) => randomU32(1, i) === randomU32(2, i)).filter(Boolean);
    expect(equal).toEqual([]);
  });
});

describe('chooseToken', () => {
  // Probabilities 1/10, 4/10, 2/10, 3/10: sorted they are tokens 1, 3, 2, 0.
  const logits = Float64Array.of(Math.log(1), Math.log(4), Math.log(2), Math.log(3));
  const all = { temperature: 1, topK: 0, topP: 1 };

  test('temperature 0 takes the largest logit, the lowest index among equals', () => {
    const greedy = { ...all, temperature: 0 };
    expect(chooseToken(logits, greedy, 0.99)).toBe(1);
    expect(chooseToken(Float32Array.of(1, 5, 5, 2), greedy, 0.99)).toBe(1);
  });

  test('inverts the distribution in sorted order', () => {
    const at = (uniform: number) => chooseToken(logits, all, uniform);
    expect([0, 0.39, 0.41, 0.69, 0.71, 0.89, 0.91, 0.999999].map(at)).toEqual([1, 1, 3, 3, 2, 2, 0, 0]);
  });

  test('top-k leaves the k largest and spreads the rest over them, ties by lower index', () => {
    // 4/7 and 3/7.
    const at = (uniform: number) => chooseToken(logits, { ...all, topK: 2 }, uniform);
    expect([0.57, 0.58, 0.999999].map(at)).toEqual([1, 3, 3]);
    const tied = Float64Array.of(0, 1, 1, 1);
    const tiedAt = (uniform: number) => chooseToken(tied, { ...all, topK: 2 }, uniform);
    expect([0.49, 0.51].map(tiedAt)).toEqual([1, 2]);
    expect(chooseToken(logits, { ...all, topK: 99 }, 0.999999)).toBe(0);
  });

  test('top-p leaves the shortest prefix that reaches it', () => {
    const last = (topP: number) => chooseToken(logits, { ...all, topP }, 0.999999);
    expect([0.01, 0.39, 0.41, 0.69, 0.71, 0.91].map(last)).toEqual([1, 1, 3, 3, 2, 0]);
    // After top-k 2 token 1 has 4/7, which is enough for 0.55 though 4/10 was not.
    expect(chooseToken(logits, { temperature: 1, topK: 2, topP: 0.55 }, 0.999999)).toBe(1);
  });

  test('temperature divides the logits: 1/2 squares the odds; tiny ones are greedy', () => {
    // 16, 9, 4, 1 of 30.
    const at = (uniform: number) => chooseToken(logits, { ...all, temperature: 0.5 }, uniform);
    expect([16, 25, 29].flatMap((n) => [at((n - 0.1) / 30), at((n + 0.1) / 30)])).toEqual([1, 3, 3, 2, 2, 0]);
    expect(chooseToken(logits, { ...all, temperature: 1e-300 }, 0.999999)).toBe(1);
  });

  test('refuses what makes no sense', () => {
    const bad = [
      { temperature: -1 },
      { temperature: Number.NaN },
      { topK: -1 },
      { topK: 1.5 },
      { topP: 0 },
      { topP: 2 },
    ];
    for (const fields of bad) expect(() => chooseToken(logits, { ...all, ...fields }, 0)).toThrow(ArgumentError);
    expect(() => chooseToken(Float64Array.of(1, Number.NaN), all, 0)).toThrow(NonFiniteError);
    expect(() => chooseToken(Float64Array.of(1, Number.NaN), all, 0)).toThrow('token 1');
  });
});
