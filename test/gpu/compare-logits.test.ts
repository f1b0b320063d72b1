import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { logSoftmax } from '../../src/graph/reference/softmax.ts';
import { compareLogitsStep, readScores, SCORE_FIELDS } from '../../src/verify/compare-logits.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

async function compare(a: Float32Array, b: Float32Array, targets: Uint32Array) {
  const tokens = targets.length;
  const upload = (array: Float32Array | Uint32Array) => {
    const buffer = gpu.memory.allocate(array.byteLength);
    gpu.upload(buffer, new Uint8Array(array.buffer));
    return { buffer, size: array.byteLength };
  };
  const scores = { buffer: gpu.memory.allocate(tokens * SCORE_FIELDS * 4) };
  await gpu.scheduler.run([
    compareLogitsStep({
      original: upload(a),
      compressed: upload(b),
      targets: upload(targets),
      scores,
      tokens,
      vocabulary: a.length / tokens,
    }),
  ]);
  return readScores(await gpu.readBack(scores.buffer, 0, tokens * SCORE_FIELDS * 4));
}

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
