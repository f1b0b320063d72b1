import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { type AttentionShape, attention } from '../../../src/graph/reference/attention.ts';
import { rmsNorm } from '../../../src/graph/reference/rms-norm.ts';
import { rotary } from '../../../src/graph/reference/rotary.ts';
import {
  appendStep,
  attentionRoomBytes,
  attentionSteps,
  fusedAttentionSteps,
  fusesHeads,
} from '../../../src/kernels/attention.ts';
import { attentionVariantsFor } from '../../../src/kernels/attention-variants.ts';
import { CACHE_TYPES, type Cache, type CacheType, cacheHeadWords } from '../../../src/kernels/cache.ts';
import { rotateAppendStep } from '../../../src/kernels/heads.ts';
import { decodeHead, encodeHead } from '../../../src/kernels/reference/cache.ts';
import { rotaryFrequencies } from '../../../src/kernels/rotary.ts';
import { stateWords } from '../../../src/kernels/state.ts';
import { FEWER, SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from './bench.ts';

const bench = openBench();

/** Queries a key head, and the size of heads: each pair is a pipeline to compile. More queries than a workgroup takes; no multiples of 4; the largest. */
const KINDS = [
  [2, 64],
  [1, 40],
  [3, 10],
  [9, 16],
  [4, 33],
  [2, 256],
  [1, 129],
] as const;

/** Words of a cache for heads of positions, each of `headDim` numbers. */
function encoded(type: CacheType, rows: Float32Array, headDim: number): Uint32Array {
  const words = cacheHeadWords(type, headDim);
  const all = new Uint32Array((rows.length / headDim) * words);
  for (let head = 0; head < rows.length / headDim; head++) {
    all.set(encodeHead(type, rows.subarray(head * headDim, (head + 1) * headDim)), head * words);
  }
  return all;
}

function decoded(type: CacheType, words: Uint32Array, headDim: number): Float32Array {
  const step = cacheHeadWords(type, headDim);
  const rows = new Float32Array((words.length / step) * headDim);
  for (let head = 0; head < words.length / step; head++) {
    rows.set(decodeHead(type, words.subarray(head * step, (head + 1) * step), headDim), head * headDim);
  }
  return rows;
}

/** A cache that holds `words` of its first positions; the rest is NaN until something is appended. */
function cacheOf(type: CacheType, kvHeads: number, headDim: number, maxPositions: number, past: Uint32Array[]): Cache {
  const length = maxPositions * kvHeads * cacheHeadWords(type, headDim);
  const [k, v] = past.map((words) => {
    const all = new Uint32Array(length).fill(0xffffffff);
    all.set(words);
    return bench.upload(all);
  });
  return { type, kvHeads, headDim, maxPositions, k: k!, v: v! };
}

interface Compared {
  readonly q: ArrayLike<number>;
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly past: number;
  readonly tokens: number;
  readonly shape: AttentionShape;
}

/** Holds an output to the f64 reference. `given`: how far off queries may be, relatively. */
function compare(errors: Errors, label: string, actual: Float32Array, one: Compared, given = 0): void {
  const { q, keys, values, past, tokens, shape } = one;
  const { heads, kvHeads, headDim, scale, window = past + tokens, softCap = 0 } = shape;
  const wanted = attention(Float64Array.from(q), keys, values, shape);
  for (let row = 0; row < tokens; row++) {
    for (let head = 0; head < heads; head++) {
      // A score is off by at most (headDim + 2) roundings of Σ|q·k|·scale; so far off, a softmax moves by twice that
      // relatively, and the output by that times the largest value. exp itself may be off by 3 + 2|x| units for a
      // weight of e^-|x| (at most 4 units of the largest weight), a tile adds 256 times, tiles are few.
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
      const scoreError = ((headDim + 2) * 2 ** -24 + given) * products + 8 * 2 ** -24 * softCap;
      const allowed = largest * Math.min(2, 2 * scoreError + (past / 64 + 100) * 2 ** -24);
      const part = (array: ArrayLike<number>) => Array.from({ length: headDim }, (_, i) => array[qStart + i]!);
      errors.compare(`${label}, row ${row}, head ${head}`, part(actual), part(wanted), () => allowed);
    }
  }
}

/** None, the token itself, a tile and one more, none again, and longer than everything. */
const windowOf = (n: number, next: () => number): number | undefined =>
  [undefined, 1, 64, 65, undefined, 1000, 1 + Math.floor(next() * 100)][n % 7];
const capOf = (n: number): number | undefined => [undefined, 50, undefined, 0.5][n % 4];

describe.each(CACHE_TYPES)('a cache in %s', (type) => {
  test(`append and attention by every variant: ${SHAPES} shapes`, async () => {
    const next = generator(1);
    const errors = new Errors();
    const steps: Step[] = [];
    const turn = CACHE_TYPES.indexOf(type);
    const variants = attentionVariantsFor(bench.gpu).filter((_, at) => !FEWER || at % CACHE_TYPES.length === turn);
    const cases = Array.from({ length: SHAPES }, (_, n) => {
      const variant = variants[n % variants.length]!.name;
      // A kind for each kernel, others for each type.
      const kernel = ['thread', 'broadcast'].indexOf(variant) + (variant.endsWith('-8') ? 3 : 2);
      const kind = kernel + 2 * CACHE_TYPES.indexOf(type);
      const [group, headDim] = KINDS[kind % KINDS.length]!;
      const tokens = n % 3 === 0 ? 1 : n % 20 === 1 ? 40 : size(next, 6);
      const kvHeads = size(next, 3);
      const heads = kvHeads * group;
      const past = n % 7 === 0 ? 0 : n % 7 === 1 ? 63 : Math.floor(next() ** 2 * 600);
      const maxPositions = past + tokens + Math.floor(next() * 3);
      const kvWidth = kvHeads * headDim;
      // Ordinary; sharp; scores of 1e6 and more; all equal; very negative; values of 1e30.
      const numbers = Math.floor(n / 3) % 6;
      const keyScale = [1, 20, 1e6, 0, 1, 1][numbers]!;
      const q = filled(tokens * heads * headDim, () => (numbers === 4 ? -50 : gaussian(next)));
      const keys = filled((past + tokens) * kvWidth, () => (numbers === 4 ? 50 + next() : keyScale * gaussian(next)));
      const values = filled((past + tokens) * kvWidth, () => gaussian(next) * (numbers === 5 ? 1e30 : 1));
      const words = [keys, values].map((rows) => encoded(type, rows, headDim));
      const held = (words[0]!.length / (past + tokens)) * past;
      const cache = cacheOf(
        ...([type, kvHeads, headDim, maxPositions] as const),
        words.map((all) => all.subarray(0, held)),
      );
      const state = bench.upload(stateWords(past));
      const [k, v] = [keys, values].map((rows) => bench.upload(rows.slice(past * kvWidth)));
      steps.push(appendStep({ k: k!, v: v!, state, cache, tokens }));
      const window = windowOf(n, next);
      const softCap = capOf(n);
      const settings = { scale: 1 / Math.sqrt(headDim), ...(window && { window }), ...(softCap && { softCap }) };
      const bytes = attentionRoomBytes(variant, { tokens, heads, kvHeads, headDim, maxPositions });
      const out = bench.room(q.length);
      steps.push(
        ...attentionSteps({
          ...{ q: bench.upload(q), cache, state, out, tokens, heads, variant, ...settings },
          ...(bytes > 0 && { room: bench.room(bytes / 4) }),
        }),
      );
      const shape = { heads, kvHeads, headDim, ...settings };
      return { q, words, cache, out, past, tokens, shape, variant };
    });
    await bench.gpu.scheduler.run(steps);
    for (const { q, words, cache, out, past, tokens, shape, variant } of cases) {
      const { headDim, heads, kvHeads, window, softCap } = shape;
      const label = `${variant}, ${tokens} after ${past}, ${heads}/${kvHeads} x ${headDim}, window ${window}, cap ${softCap}`;
      // What was appended is the reference's bit for bit.
      for (const [i, view] of [cache.k, cache.v].entries()) {
        const got = await bench.words(view, words[i]!.length);
        const wrong = words[i]!.findIndex((word, at) => word !== got[at]);
        expect(wrong === -1 ? '' : `${label}: word ${wrong} is ${got[wrong]}, not ${words[i]![wrong]}`).toBe('');
      }
      const [keys, values] = words.map((all) => decoded(type, all, headDim));
      const actual = await bench.floats(out, q.length);
      compare(errors, label, actual, { q, keys: keys!, values: values!, past, tokens, shape });
    }
    bench.release();
    expect(errors.verdict(`attention over ${type}`)).toBe('');
  });

  test(`heads that are normalized, rotated and appended, at once or in one launch with attention: ${SHAPES} shapes`, async () => {
    const next = generator(2);
    const errors = new Errors();
    const rotated = new Errors();
    const steps: Step[] = [];
    const variants = attentionVariantsFor(bench.gpu).filter(({ fuses }) => fuses);
    const cases = Array.from({ length: SHAPES }, (_, n) => {
      // What is compiled depends on this number only.
      const kind = 2 * (Math.floor(n / 2) % 2) + (CACHE_TYPES.indexOf(type) % 2);
      const variant = variants[(3 * kind + CACHE_TYPES.indexOf(type)) % variants.length]!.name;
      const [group, headDim] = (
        [
          [2, 64],
          [8, 16],
          [3, 10],
          [1, 80],
        ] as const
      )[kind]!;
      const normed = kind === 0 || kind === 3;
      const rotates = kind !== 1 && kind !== 3;
      const kvHeads = size(next, 3);
      const heads = kvHeads * group;
      const fused = n % 2 === 0;
      const tokens = fused ? 1 : size(next, 8);
      const past = n % 7 === 0 ? 0 : Math.floor(next() ** 2 * 300);
      const maxPositions = past + tokens + Math.floor(next() * 3);
      const width = (heads + 2 * kvHeads) * headDim;
      // Of a size that norms bring back to 1, or of an ordinary one.
      const x = filled(tokens * width, () => gaussian(next) * (normed ? [1, 1e20, 1e-20][n % 3]! : 1));
      const inverseFrequencies = Array.from({ length: headDim / 2 }, (_, i) => 1e4 ** ((-2 * i) / headDim));
      const weights = [0, 1].map(() => filled(headDim, () => 0.5 + next()));
      const norms = { query: bench.upload(weights[0]!), key: bench.upload(weights[1]!), epsilon: 1e-6, offset: n % 3 };
      const given = {
        heads: bench.upload(x),
        ...(rotates && { frequencies: bench.upload(rotaryFrequencies(inverseFrequencies)) }),
        ...(normed && { norms }),
      };
      const [keys, values] = [0, 1].map(() => filled(past * kvHeads * headDim, () => gaussian(next)));
      const words = [keys!, values!].map((rows) => encoded(type, rows, headDim));
      const cache = cacheOf(type, kvHeads, headDim, maxPositions, words);
      const state = bench.upload(stateWords(past));
      const window = windowOf(n, next);
      const softCap = capOf(n);
      const settings = { scale: 1 / Math.sqrt(headDim), ...(window && { window }), ...(softCap && { softCap }) };
      const out = bench.room(tokens * heads * headDim);
      const bytes = attentionRoomBytes(variant, { tokens, heads, kvHeads, headDim, maxPositions });
      const room = bytes > 0 && { room: bench.room(bytes / 4) };
      if (fused)
        steps.push(...fusedAttentionSteps({ rotated: given, cache, state, out, heads, variant, ...room, ...settings }));
      else steps.push(rotateAppendStep({ rotated: given, state, cache, q: out, tokens, heads }));

      // The same in f64, in columns of queries, keys and values.
      const columns = (from: number, count: number) =>
        Float64Array.from({ length: tokens * count * headDim }, (_, i) => {
          const [token, at] = [Math.floor(i / (count * headDim)), i % (count * headDim)];
          return x[token * width + from * headDim + at]!;
        });
      const done = (from: number, count: number, weight: Float32Array) => {
        const some = columns(from, count);
        const scaled = normed ? rmsNorm(some, weight, norms.epsilon, norms.offset) : some;
        return rotates ? rotary(scaled, count * headDim, { style: 'half', headDim, inverseFrequencies }, past) : scaled;
      };
      const q = done(0, heads, weights[0]!);
      const added = [done(heads, kvHeads, weights[1]!), columns(heads + kvHeads, kvHeads)];
      const shape = { heads, kvHeads, headDim, ...settings };
      return { q, added, words, cache, out, past, tokens, shape, fused, variant, normed, rotates };
    });
    await bench.gpu.scheduler.run(steps);
    for (const { q, added, words, cache, out, past, tokens, shape, fused, variant, normed, rotates } of cases) {
      const { headDim, heads, kvHeads, window } = shape;
      const label = `${fused ? variant : 'rotated'}, ${tokens} after ${past}, ${heads}/${kvHeads} x ${headDim}, window ${window}, ${normed ? 'normed' : ''} ${rotates ? 'rotated' : ''}`;
      const seen: Float32Array[] = [];
      for (const [i, view] of [cache.k, cache.v].entries()) {
        const got = await bench.words(view, words[i]!.length + tokens * kvHeads * cacheHeadWords(type, headDim));
        expect(got.subarray(0, words[i]!.length), `${label}: the past`).toEqual(words[i]);
        const all = decoded(type, got, headDim);
        seen.push(all);
        // Roundings of the norm (width + 8) and of the turn; then half a step of the type and a little of its own roundings.
        for (let head = 0; head < tokens * kvHeads; head++) {
          const wanted = added[i]!.subarray(head * headDim, (head + 1) * headDim);
          const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const share = { f32: 0, f16: 2 ** -11, int8: 0.51 / 127, int4: 0.51 * (2 / 15) + 2 ** -9 }[type];
          // f16 holds multiples of 2^-24, and above its range its largest number.
          const step = { f32: 0, f16: 2 ** -25, int8: 0, int4: 2 ** -20 }[type];
          const saturates = largest > 65504 && (type === 'f16' || type === 'int4');
          const off = saturates ? largest : largest * (share + 64 * 2 ** -22) + step;
          const at = past * kvHeads * headDim + head * headDim;
          rotated.compare(`${label}, ${i} head ${head}`, all.subarray(at, at + headDim), wanted, () => off);
        }
      }
      const actual = await bench.floats(out, q.length);
      if (fused) compare(errors, label, actual, { q, keys: seen[0]!, values: seen[1]!, past, tokens, shape }, 2 ** -19);
      else {
        for (let head = 0; head < tokens * heads; head++) {
          const wanted = q.subarray(head * headDim, (head + 1) * headDim);
          const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const got = actual.subarray(head * headDim, (head + 1) * headDim);
          rotated.compare(`${label}, query ${head}`, got, wanted, () => largest * 64 * 2 ** -22);
        }
      }
    }
    bench.release();
    expect(rotated.verdict(`heads over ${type}`)).toBe('');
    expect(errors.verdict(`fused attention over ${type}`)).toBe('');
  });

  test('a batch past the end of the cache is dropped', async () => {
    const head = filled(5, () => 7);
    const words = encoded(
      type,
      filled(15, () => 7),
      5,
    );
    const cache = cacheOf(type, 1, 5, 3, [words, words]);
    const rows = bench.upload(filled(4 * 5, (i) => i));
    const heads = bench.upload(filled(4 * 15, (i) => i));
    const q = bench.room(20);
    for (const position of [2, 3, 0xffffffff]) {
      const state = bench.upload(stateWords(position));
      await bench.gpu.scheduler.run([
        appendStep({ k: rows, v: rows, state, cache, tokens: 4 }),
        ...(position > 2 ? [rotateAppendStep({ rotated: { heads }, state, cache, q, tokens: 4, heads: 1 })] : []),
      ]);
    }
    const first = encodeHead(type, Float32Array.of(0, 1, 2, 3, 4));
    const wanted = [...encodeHead(type, head), ...encodeHead(type, head), ...first];
    expect([...(await bench.words(cache.k, words.length))]).toEqual(wanted);
    expect([...(await bench.words(cache.v, words.length))]).toEqual(wanted);
    bench.release();
  });
});

test('wrong arguments', () => {
  const view = { buffer: { size: 1 << 20 } as GPUBuffer };
  const cache: Cache = { type: 'f32', kvHeads: 2, headDim: 64, maxPositions: 16, k: view, v: view };
  const given = { q: view, cache, state: view, out: view, tokens: 1, heads: 4, scale: 1 };
  expect(() => attentionSteps(given)).not.toThrow();
  expect(() => attentionSteps({ ...given, cache: { ...cache, headDim: 257 } })).toThrow(ArgumentError);
  expect(() => attentionSteps({ ...given, heads: 5 })).toThrow(ArgumentError);
  expect(() => attentionSteps({ ...given, window: 0 })).toThrow('window is 0');
  expect(() => attentionSteps({ ...given, softCap: 0 })).toThrow('soft cap is 0');
  expect(() => attentionSteps({ ...given, cache: { ...cache, maxPositions: 1 << 20 } })).toThrow('"kCache" needs');
  expect(() => attentionSteps({ ...given, variant: 'split-5-1' })).toThrow(/no variant "split-5-1".*There are/);
  expect(() => attentionSteps({ ...given, variant: 'split-4-1' })).toThrow('needs room for 4224 bytes');
  const fused = { rotated: { heads: view }, cache, state: view, out: view, heads: 4, scale: 1, variant: 'split-1-1' };
  expect(() => fusedAttentionSteps(fused)).not.toThrow();
  expect(() => fusedAttentionSteps({ ...fused, heads: 18 })).toThrow('does not rotate and append');
  expect(() => fusedAttentionSteps({ ...fused, variant: 'thread' })).toThrow('does not rotate and append');
  const odd = { ...cache, headDim: 63 };
  expect(() => fusedAttentionSteps({ ...fused, cache: odd, rotated: { heads: view, frequencies: view } })).toThrow(
    'rotary embedding needs an even one',
  );
  expect(fusesHeads('split-1-1', { tokens: 2, heads: 4, kvHeads: 2, headDim: 64, maxPositions: 16 })).toBe(false);
});
