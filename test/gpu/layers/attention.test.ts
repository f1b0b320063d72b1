import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { attention } from '../../../src/graph/reference/attention.ts';
import { type AttentionVariant, appendStep, attentionStep } from '../../../src/kernels/attention.ts';
import { stateWords } from '../../../src/kernels/state.ts';
import { Errors, filled, gaussian, generator, openBench, SHAPES, size } from './bench.ts';

const bench = openBench();

test.each<AttentionVariant>(['workgroup', 'thread'])(
  `append and attention by %s: ${SHAPES} shapes`,
  async (variant) => {
    const next = generator(1);
    const errors = new Errors();
    const steps: Step[] = [];
    const cases = Array.from({ length: SHAPES }, (_, n) => {
      const tokens = n % 3 === 0 ? 1 : size(next, 6);
      const kvHeads = size(next, 3);
      const heads = kvHeads * size(next, 3);
      const headDim =
        variant === 'thread'
          ? 4 * (n % 8 === 0 ? 32 : size(next, 20))
          : n % 8 === 0
            ? [256, 255, 129, 65][(n / 8) % 4]!
            : size(next, 80);
      const past = n % 7 === 0 ? 0 : n % 7 === 1 ? 63 : Math.floor(next() ** 2 * 300);
      const maxPositions = past + tokens + Math.floor(next() * 3);
      const kvWidth = kvHeads * headDim;
      // Ordinary; sharp; scores of 1e6 and more; all equal; very negative; values of 1e30.
      const kind = n % 6;
      const keyScale = [1, 20, 1e6, 0, 1, 1][kind]!;
      const q = filled(tokens * heads * headDim, () => (kind === 4 ? -50 : gaussian(next)));
      const keys = filled((past + tokens) * kvWidth, () => (kind === 4 ? 50 + next() : keyScale * gaussian(next)));
      const values = filled((past + tokens) * kvWidth, () => gaussian(next) * (kind === 5 ? 1e30 : 1));
      const scale = 1 / Math.sqrt(headDim);
      // The caches hold the past; the rest is NaN until it is appended.
      const cache = (rows: Float32Array) => {
        const words = new Uint32Array(maxPositions * kvWidth).fill(0xffffffff);
        words.set(new Uint32Array(rows.buffer, 0, past * kvWidth));
        return bench.upload(words);
      };
      const kCache = cache(keys);
      const vCache = cache(values);
      const state = bench.upload(stateWords(past));
      const out = bench.room(q.length);
      const k = bench.upload(keys.slice(past * kvWidth));
      const v = bench.upload(values.slice(past * kvWidth));
      steps.push(appendStep({ k, v, state, kCache, vCache, tokens, width: kvWidth, maxPositions }));
      // None, the token itself, a tile and one more, none again, and longer than everything.
      const window = [undefined, 1, 64, 65, undefined, 1000, 1 + Math.floor(next() * 100)][n % 7];
      const softCap = [undefined, 50, undefined, 0.5][n % 4];
      const shape = { heads, kvHeads, headDim, scale, ...(window && { window }), ...(softCap && { softCap }) };
      steps.push(
        attentionStep({ q: bench.upload(q), kCache, vCache, state, out, tokens, maxPositions, variant, ...shape }),
      );
      return { q, keys, values, out, past, tokens, shape };
    });
    await bench.gpu.scheduler.run(steps);
    for (const { q, keys, values, out, past, tokens, shape } of cases) {
      const { heads, kvHeads, headDim, scale, window = past + tokens, softCap = 0 } = shape;
      const wanted = attention(q, keys, values, shape);
      const actual = await bench.floats(out, q.length);
      const label = `${tokens} after ${past}, ${heads}/${kvHeads} x ${headDim}, window ${window}, cap ${softCap}`;
      for (let row = 0; row < tokens; row++) {
        for (let head = 0; head < heads; head++) {
          // A score is off by at most (headDim + 2) roundings of Σ|q·k|·scale; so far off, a softmax moves by twice that
          // relatively, and the output by that times the largest value. exp itself may be off by 3 + 2|x| units for a
          // weight of e^-|x| (at most 4 units of the largest weight), a tile adds 64 times, tiles are few.
          const kvStart = Math.floor((head * kvHeads) / heads) * headDim;
          const qStart = (row * heads + head) * headDim;
          let products = 0;
          let largest = 0;
          for (let position = Math.max(0, past + row + 1 - window); position <= past + row; position++) {
            let sum = 0;
            for (let i = 0; i < headDim; i++) {
              const at = position * kvHeads * headDim + kvStart + i;
              sum += Math.abs(q[qStart + i]! * keys[at]!);
              largest = Math.max(largest, Math.abs(values[at]!));
            }
            products = Math.max(products, sum * scale);
          }
          // A cap makes no error larger, and adds 8 units of itself.
          const scoreError = (headDim + 2) * 2 ** -24 * products + 8 * 2 ** -24 * softCap;
          const allowed = largest * Math.min(2, 2 * scoreError + (past / 64 + 100) * 2 ** -24);
          const part = (array: ArrayLike<number>) => Array.from({ length: headDim }, (_, i) => array[qStart + i]!);
          errors.compare(`${label}, row ${row}, head ${head}`, part(actual), part(wanted), () => allowed);
        }
      }
    }
    bench.release();
    expect(errors.verdict('attention')).toBe('');
  },
);

test('a batch past the end of the cache is dropped', async () => {
  const cache = new Float32Array(3 * 5).fill(7);
  const kCache = bench.upload(cache);
  const vCache = bench.upload(cache);
  const rows = bench.upload(filled(4 * 5, (i) => i));
  const steps = [2, 3, 0xffffffff].map((position) =>
    appendStep({
      k: rows,
      v: rows,
      state: bench.upload(stateWords(position)),
      kCache,
      vCache,
      tokens: 4,
      width: 5,
      maxPositions: 3,
    }),
  );
  await bench.gpu.scheduler.run(steps);
  const wanted = [...cache.subarray(0, 10), 0, 1, 2, 3, 4];
  expect([...(await bench.floats(kCache, 15))]).toEqual(wanted);
  expect([...(await bench.floats(vCache, 15))]).toEqual(wanted);
  bench.release();
});

test('wrong arguments', () => {
  const view = { buffer: { size: 1 << 20 } as GPUBuffer };
  const views = { q: view, kCache: view, vCache: view, state: view, out: view };
  const shape = { tokens: 1, heads: 4, kvHeads: 2, headDim: 64, maxPositions: 16, scale: 1 };
  expect(() => attentionStep({ ...views, ...shape })).not.toThrow();
  expect(() => attentionStep({ ...views, ...shape, headDim: 257 })).toThrow(ArgumentError);
  expect(() => attentionStep({ ...views, ...shape, kvHeads: 3 })).toThrow(ArgumentError);
  expect(() => attentionStep({ ...views, ...shape, window: 0 })).toThrow('window is 0');
  expect(() => attentionStep({ ...views, ...shape, softCap: 0 })).toThrow('soft cap is 0');
  expect(() => attentionStep({ ...views, ...shape, maxPositions: 1 << 20 })).toThrow('"kCache" needs');
});
