import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { add } from '../../../src/graph/reference/add.ts';
import { attention } from '../../../src/graph/reference/attention.ts';
import { embedding } from '../../../src/graph/reference/embedding.ts';
import { geluMul } from '../../../src/graph/reference/gelu-mul.ts';
import { linear } from '../../../src/graph/reference/linear.ts';
import { rmsNorm } from '../../../src/graph/reference/rms-norm.ts';
import { rotary } from '../../../src/graph/reference/rotary.ts';
import { siluMul } from '../../../src/graph/reference/silu-mul.ts';
import { softCap } from '../../../src/graph/reference/soft-cap.ts';
import { logSoftmax, softmax } from '../../../src/graph/reference/softmax.ts';

/** Values worked out by hand; f64 leaves the last digits open. */
const expectClose = (actual: Float64Array, expected: number[]) => {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 12);
};
const f64 = (...values: number[]) => Float64Array.from(values);

test('embedding takes rows, repeated ones too, and refuses tokens outside', () => {
  const weight = Float32Array.of(1, 2, 3, 4, 5, 6);
  expectClose(embedding([2, 0, 2], weight, 2), [5, 6, 1, 2, 5, 6]);
  expectClose(embedding([1], weight, 2, 3), [9, 12]);
  expect(() => embedding([3], weight, 2)).toThrow(ArgumentError);
  expect(() => embedding([-1], weight, 2)).toThrow(ArgumentError);
});

test('rmsNorm: a row of mean square 4 is halved; epsilon counts inside the root', () => {
  // Row 1: (4 + 4) / 2 = 4. Row 2: mean square 25/2, plus epsilon 7/2, makes 16.
  expectClose(rmsNorm(f64(2, -2), f64(1, 10), 0), [1, -10]);
  expectClose(rmsNorm(f64(3, 4), f64(1, 1), 3.5), [0.75, 1]);
  expectClose(rmsNorm(f64(0, 0, 3, 4), f64(1, 1), 3.5), [0, 0, 0.75, 1]);
  expectClose(rmsNorm(f64(2, -2), f64(0, 9), 0, 1), [1, -10]);
});

test('linear multiplies by rows of the weight and adds the bias', () => {
  const weight = f64(1, 2, 3, 4, 5, 6);
  expectClose(linear(f64(1, 10, 100, 1, 0, 0), weight, 3), [321, 654, 1, 4]);
  expectClose(linear(f64(1, 10, 100), weight, 3, f64(0.5, -1)), [321.5, 653]);
});

test('rotary turns pairs half a head apart, by position times frequency, in each head', () => {
  const turn = { style: 'half', headDim: 4, inverseFrequencies: [Math.PI / 2, Math.PI / 6] } as const;
  // Position 0 stands still; position 1 turns the first pair by 90° and the second by 30°.
  const x = f64(1, 2, 3, 4);
  const [cos, sin] = [Math.sqrt(3) / 2, 1 / 2];
  const turned = [-3, 2 * cos - 4 * sin, 1, 4 * cos + 2 * sin];
  expectClose(rotary(f64(...x, ...x), 4, turn, 0), [1, 2, 3, 4, ...turned]);
  expectClose(rotary(f64(...x, ...x), 8, turn, 1), [...turned, ...turned]);
  expectClose(rotary(x, 4, turn, 2), [-1, 2 * sin - 4 * cos, -3, 4 * sin + 2 * cos]);
});

describe('attention', () => {
  test('sees nothing ahead: the first row copies its value, the second weighs both', () => {
    const shape = { heads: 1, kvHeads: 1, headDim: 1, scale: 1 };
    // Row 2: scores ln 3 · (1, 0) give weights 3/4, 1/4.
    const out = attention(f64(5, Math.log(3)), f64(1, 0), f64(8, 4), shape);
    expectClose(out, [8, 7]);
  });

  test('with a past, rows stand behind it; the scale multiplies the scores', () => {
    const shape = { heads: 1, kvHeads: 1, headDim: 1, scale: 0.5 };
    // One query after one past position: scores ½ · 2 ln 3 · (0, 1) give weights 1/4, 3/4.
    expectClose(attention(f64(2 * Math.log(3)), f64(0, 1), f64(8, 4), shape), [5]);
  });

  test('queries share keys and values in consecutive groups', () => {
    const shape = { heads: 4, kvHeads: 2, headDim: 2, scale: 1 };
    const q = new Float64Array(8);
    const v = f64(1, 2, 3, 4);
    expectClose(attention(q, new Float64Array(4), v, shape), [1, 2, 1, 2, 3, 4, 3, 4]);
  });
});

describe('attention over a window', () => {
  // With queries of zero all scores are equal: the output is the mean of the values that are seen.
  const mean = (window: number | undefined, rows: number, values: number[]) =>
    attention(new Float64Array(rows), new Float64Array(values.length), f64(...values), {
      heads: 1,
      kvHeads: 1,
      headDim: 1,
      scale: 1,
      ...(window && { window }),
    });

  test('a window of w positions holds the token itself and the w - 1 before it', () => {
    const values = [1, 2, 4, 8];
    expectClose(mean(undefined, 4, values), [1, 3 / 2, 7 / 3, 15 / 4]);
    expectClose(mean(1, 4, values), [1, 2, 4, 8]);
    expectClose(mean(2, 4, values), [1, 3 / 2, 6 / 2, 12 / 2]);
    expectClose(mean(3, 4, values), [1, 3 / 2, 7 / 3, 14 / 3]);
    expectClose(mean(4, 4, values), [1, 3 / 2, 7 / 3, 15 / 4]);
  });

  test('and moves on with the positions behind a past', () => {
    expectClose(mean(2, 1, [1, 2, 4, 8]), [6]);
    expectClose(mean(3, 2, [1, 2, 4, 8, 16]), [14 / 3, 28 / 3]);
  });

  test('a soft cap bends the scores, before the softmax', () => {
    // Scores 0 and atanh(1/2) with a cap of 1 become 0 and 1/2.
    const shape = { heads: 1, kvHeads: 1, headDim: 1, scale: 1, softCap: 1 };
    const weight = Math.exp(0.5) / (1 + Math.exp(0.5));
    expectClose(attention(f64(Math.atanh(0.5)), f64(0, 1), f64(0, 1), shape), [weight]);
  });
});

test('softCap: tanh(ln 2) = 3/5, and nothing passes the cap', () => {
  expectClose(softCap(f64(0, 30 * Math.log(2), -30 * Math.log(2), 1e9), 30), [0, 18, -18, 30]);
});

test('geluMul: the tanh form, where large gates pass or close', () => {
  // gelu(1) = (1 + tanh(0.79788456 · 1.044715)) / 2 = (1 + tanh 0.83356297) / 2; tables: 0.84119199.
  const [zero, one, minus, pass, close] = geluMul(f64(0, 1, -1, 100, -100), f64(5, 1, 1, 2, 2));
  expect(zero).toBe(0);
  expect(one).toBeCloseTo(0.84119199, 7);
  expect(minus).toBeCloseTo(0.84119199 - 1, 7);
  expectClose(f64(pass!, close!), [200, 0]);
});

test('siluMul: silu(0) = 0, silu(ln 3) = ¾ ln 3, and large gates pass or close', () => {
  expectClose(siluMul(f64(0, Math.log(3), 1000, -1000), f64(7, 4, 2, 2)), [0, 3 * Math.log(3), 2000, 0]);
});

test('add', () => {
  expectClose(add(f64(1, 2), Float32Array.of(10, 20)), [11, 22]);
});

test('softmax and logSoftmax, also where exp would overflow or underflow', () => {
  const x = f64(0, Math.log(2), Math.log(5));
  expectClose(softmax(x), [1 / 8, 2 / 8, 5 / 8]);
  expectClose(logSoftmax(x), [-Math.log(8), -Math.log(4), -Math.log(8 / 5)]);
  expectClose(softmax(f64(1e4, 1e4)), [0.5, 0.5]);
  expectClose(logSoftmax(f64(0, 1e4)), [-1e4, 0]);
  expect(softmax(f64(0, Number.NaN)).every(Number.isNaN)).toBe(true);
});
