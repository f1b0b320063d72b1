import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { logSoftmax } from '../../src/graph/reference/softmax.ts';
import { joinSlices, scoreOf, type TokenScore } from '../../src/verify/combine-scores.ts';
import { compareLogitsStep, readSliceScores, SCORE_FIELDS, type SliceScore } from '../../src/verify/compare-logits.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** Scores tokens over a slice of the vocabulary, by default all of it. */
async function slice(
  a: Float32Array,
  b: Float32Array,
  targets: Uint32Array,
  [start, end]: readonly [number, number] = [0, a.length / targets.length],
): Promise<SliceScore[]> {
  const tokens = targets.length;
  const vocabulary = a.length / tokens;
  const size = end - start;
  const cut = (all: Float32Array) =>
    Float32Array.from(
      { length: tokens * size },
      (_, i) => all[Math.floor(i / size) * vocabulary + start + (i % size)]!,
    );
  const made: GPUBuffer[] = [];
  const upload = (array: Float32Array | Uint32Array) => {
    const buffer = gpu.memory.allocate(array.byteLength);
    made.push(buffer);
    gpu.upload(buffer, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return { buffer, size: array.byteLength };
  };
  const scores = upload(new Uint32Array(tokens * SCORE_FIELDS));
  const range = { start, size };
  const [original, compressed] = [upload(cut(a)), upload(cut(b))];
  await gpu.scheduler.run([
    compareLogitsStep({ original, compressed, targets: upload(targets), scores, tokens, ...range }),
  ]);
  const read = readSliceScores(await gpu.readBack(scores.buffer, 0, scores.size), targets, range);
  for (const buffer of made) gpu.memory.release(buffer);
  return read;
}

const compare = async (...args: Parameters<typeof slice>): Promise<TokenScore[]> => (await slice(...args)).map(scoreOf);

/** f32 sums over at most 4,096 terms, exp and log within 3 + 2|x| ulp as WGSL states. */
const TOLERANCE = 2e-4;

test.each([1, 2, 63, 64, 65, 257, 1000, 4096])(
  'scores %i-token vocabularies as the f64 definition does',
  async (vocabulary) => {
    const random = randomSource(vocabulary);
    const tokens = 25;
    const a = Float32Array.from({ length: tokens * vocabulary }, () => 20 * random() - 10);
    const b = a.map((x) => x + random() - 0.5);
    const targets = Uint32Array.from({ length: tokens }, () => Math.floor(random() * vocabulary));
    const got = await compare(a, b, targets);
    for (let t = 0; t < tokens; t++) {
      const rowA = a.slice(t * vocabulary, (t + 1) * vocabulary);
      const rowB = b.slice(t * vocabulary, (t + 1) * vocabulary);
      const la = logSoftmax(rowA);
      const lb = logSoftmax(rowB);
      const kl = la.reduce((sum, x, i) => sum + Math.exp(x) * (x - lb[i]!), 0);
      expect(Math.abs(got[t]!.original + la[targets[t]!]!)).toBeLessThan(TOLERANCE);
      expect(Math.abs(got[t]!.compressed + lb[targets[t]!]!)).toBeLessThan(TOLERANCE);
      expect(Math.abs(got[t]!.kl - kl)).toBeLessThan(TOLERANCE);
      expect(got[t]!.agree).toBe(rowA.indexOf(Math.max(...rowA)) === rowB.indexOf(Math.max(...rowB)));
      expect(got[t]!.nonFinite).toEqual([0, 0]);
    }
  },
);

test('counts NaN and infinite logits', async () => {
  const a = new Float32Array(200).fill(1);
  const b = a.slice();
  b[3] = Number.NaN;
  b[150] = Number.POSITIVE_INFINITY;
  const [first, second] = await compare(a, b, new Uint32Array([0, 0]));
  expect(first!.nonFinite).toEqual([0, 1]);
  expect(second!.nonFinite).toEqual([0, 1]);
});

/** Logits of one token, of many kinds. */
const kinds: readonly ((random: () => number) => number)[] = [
  (random) => 20 * random() - 10,
  // Equal, or one of two values: ties all over.
  () => 3,
  (random) => Math.round(random()),
  // As far as f32 goes, where differences overflow.
  (random) => (random() - 0.5) * 6.8e38,
  (random) => -3.4e38 * random(),
  (random) => 1e-40 * random(),
  // What is not finite among the rest.
  (random) => (random() < 0.1 ? Number.NaN : 5 * random()),
  (random) => (random() < 0.5 ? Number.NEGATIVE_INFINITY : 5 * random()),
  () => Number.NEGATIVE_INFINITY,
];

test('slices of the vocabulary give the score of the whole, whatever the logits', async () => {
  const random = randomSource(11);
  let finite = 0;
  for (let round = 0; round < 40; round++) {
    const vocabulary = 1 + Math.floor(300 * random());
    const tokens = kinds.length;
    const fill = (shift: number) => {
      const all = new Float32Array(tokens * vocabulary);
      for (let t = 0; t < tokens; t++) {
        const kind = kinds[(t + shift) % tokens]!;
        for (let i = 0; i < vocabulary; i++) all[t * vocabulary + i] = Math.fround(kind(random));
      }
      return all;
    };
    // Two of the same kind, and a mixture.
    const [a, b] = [fill(0), fill(round % 2 === 0 ? 0 : round)];
    const targets = Uint32Array.from({ length: tokens }, () => Math.floor(random() * vocabulary));
    const whole = await compare(a, b, targets);
    const cuts = [0, vocabulary, ...Array.from({ length: 3 }, () => Math.floor(random() * vocabulary))];
    const ends = [...new Set(cuts)].sort((x, y) => x - y);
    const slices: SliceScore[][] = [];
    for (const [i, start] of ends.slice(0, -1).entries())
      slices.push(await slice(a, b, targets, [start, ends[i + 1]!]));
    // In another order than they lie in.
    if (round % 3 === 0) slices.reverse();
    for (let t = 0; t < tokens; t++) {
      const joined = scoreOf(slices.map((one) => one[t]!).reduce(joinSlices));
      const expected = whole[t]!;
      const where = `round ${round}, token ${t}`;
      const row = (all: Float32Array) => [...all.subarray(t * vocabulary, (t + 1) * vocabulary)];
      const count = (all: Float32Array) => row(all).filter((x) => !Number.isFinite(x)).length;
      expect(joined.nonFinite, where).toEqual([count(a), count(b)]);
      expect(expected.nonFinite, where).toEqual([count(a), count(b)]);
      // Who gives what is no number has no score.
      if (count(a) + count(b) > 0) continue;
      expect(joined.agree, where).toBe(expected.agree);
      // Denormals count as 0.
      const normal = (all: Float32Array) => row(all).map((x) => (Math.abs(x) < 2 ** -126 ? 0 : x));
      const top = (all: Float32Array) => normal(all).indexOf(Math.max(...normal(all)));
      expect(joined.agree, where).toBe(top(a) === top(b));
      for (const field of ['original', 'compressed', 'kl'] as const) {
        const [got, wanted] = [joined[field], expected[field]];
        expect(Number.isFinite(wanted), `${where}, ${field}`).toBe(true);
        // f32 sums of 300 terms; of huge logits, relative to them.
        expect(Math.abs(got - wanted) / Math.max(1, Math.abs(wanted)), `${where}, ${field}`).toBeLessThan(1e-5);
        finite++;
      }
    }
  }
  expect(finite).toBeGreaterThan(200);
});
