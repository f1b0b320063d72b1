import { expect, test } from 'vitest';
import { ArgumentError, NonFiniteError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { randomUniform } from '../../../src/graph/reference/random.ts';
import { chooseToken, type Sampling } from '../../../src/graph/reference/sampling.ts';
import { chooseTokenStep, throwIfChoiceFailed } from '../../../src/kernels/choose-token.ts';
import { STATE, stateWords } from '../../../src/kernels/state.ts';
import { SHAPES } from '../formats-under-test.ts';
import { filled, gaussian, generator, openBench, size } from './bench.ts';

const bench = openBench();

const KINDS: readonly ((next: () => number) => () => number)[] = [
  (next) => () => 3 * gaussian(next),
  (next) => () => gaussian(next) * 0.1 - 1e4,
  () => () => -2.5,
  // Many ties, both zeros among them.
  (next) => () => (Math.floor(next() * 5) - 2) * (next() < 0.5 ? 1 : -0.5),
  (next) => () => gaussian(next) * 1e37,
  (next) => () => (next() < 0.01 ? 10 : -1e5),
  (next) => () => -next() * 40,
  (next) => () => (next() < 0.5 ? 0 : -0),
];

const GREEDY: Sampling = { temperature: 0, topK: 0, topP: 1 };

/** Is `token` what f64 chooses where the draw or top-p are moved by so much as f32 may be off? */
function allowed(logits: Float32Array, sampling: Sampling, uniform: number, token: number): boolean {
  if (token === chooseToken(logits, sampling, uniform)) return true;
  // A weight e^-x is off by 3 + 2x units (WGSL) and x units for the exponent, x <= 20 where it matters; 2^-32 of the
  // largest for rounding to an integer.
  const slack = 1e-5 + logits.length * 2 ** -32;
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const rank = new Map(order.map((id, i) => [id, i]));
  const ranks: number[] = [];
  for (const p of [-slack, 0, slack]) {
    const topP = sampling.topP === 1 ? 1 : Math.min(1, Math.max(1e-9, sampling.topP + p));
    for (const u of [-slack, 0, slack]) {
      const moved = Math.min(1 - 2 ** -24, Math.max(0, uniform + u));
      ranks.push(rank.get(chooseToken(logits, { ...sampling, topP }, moved))!);
    }
  }
  const chosen = rank.get(token) ?? -1;
  return chosen >= Math.min(...ranks) && chosen <= Math.max(...ranks);
}

test(`${SHAPES} greedy choices are exact, and as many draws within the slack of f32`, async () => {
  const next = generator(1);
  const steps: Step[] = [];
  const cases = Array.from({ length: 2 * SHAPES }, (_, n) => {
    const rows = size(next, 3);
    const vocabulary = n % 9 === 0 ? 1 + (n % 3) : size(next, 3000);
    const logits = filled(rows * vocabulary, KINDS[n % KINDS.length]!(next));
    const row = rows - 1;
    const sampling: Sampling =
      n % 2 === 0
        ? GREEDY
        : {
            temperature: [1, 0.7, 1.5, 1e-30, 100][n % 5]!,
            topK: [0, 1, 40, size(next, vocabulary), 5000][(n >> 1) % 5]!,
            topP: [1, 0.9, 0.5, next() || 1, 1e-6, 0.999][(n >> 2) % 6]!,
          };
    const position = Math.floor(next() * 1000);
    const seed = Math.floor(next() * 2 ** 32);
    const tokens = size(next, 5);
    const state = bench.upload(stateWords(position, seed, 1));
    const ids = bench.room(1);
    const chosen = bench.room(3);
    const source = bench.upload(logits);
    steps.push(chooseTokenStep({ logits: source, row, vocabulary, state, ids, chosen, capacity: 3, tokens, sampling }));
    return { logits: logits.slice(row * vocabulary), sampling, position, seed, tokens, state, ids, chosen };
  });
  await bench.gpu.scheduler.run(steps);
  const wrong: string[] = [];
  let moved = 0;
  for (const { logits, sampling, position, seed, tokens, state, ids, chosen } of cases) {
    const [token] = await bench.words(ids, 1);
    const uniform = randomUniform(seed, position + tokens);
    const wanted = chooseToken(logits, sampling, uniform);
    const exact = sampling.temperature === 0 || sampling.topK === 1;
    if (token !== wanted) {
      moved++;
      if (exact || !allowed(logits, sampling, uniform, token!)) {
        wrong.push(`${token} instead of ${wanted} of ${logits.length}, ${JSON.stringify(sampling)}, ${uniform}`);
      }
    }
    expect([...(await bench.words(state, 4))]).toEqual([position + tokens, 2, seed, 0]);
    expect([...(await bench.words(chosen, 3))]).toEqual([0xffffffff, token, 0xffffffff]);
  }
  bench.release();
  if (process.env.COMPRESSA_SHOW_ERRORS) console.log(`choose-token: ${moved} of ${SHAPES} draws differ from f64`);
  expect(wrong).toEqual([]);
});

test('one step replayed draws the sequence of the reference, and its frequencies', async () => {
  const logits = Float32Array.of(1, 2, 0.5, -1, 2, 0, -0.5, 1.5, -9);
  const sampling = { temperature: 0.8, topK: 7, topP: 0.95 };
  const count = 1500;
  const state = bench.upload(stateWords(10, 1234));
  const ids = bench.room(1);
  const chosen = bench.room(count);
  const vocabulary = logits.length;
  const source = bench.upload(logits);
  const step = chooseTokenStep({
    logits: source,
    row: 0,
    vocabulary,
    state,
    ids,
    chosen,
    capacity: count,
    tokens: 1,
    sampling,
  });
  const recording = await bench.gpu.scheduler.record(Array.from({ length: 100 }, () => step));
  for (let i = 0; i < count / 100; i++) recording.submit();
  const tokens = await bench.words(chosen, count);
  const uniforms = Array.from({ length: count }, (_, i) => randomUniform(1234, 11 + i));
  const wrong = uniforms.filter((uniform, i) => !allowed(logits, sampling, uniform, tokens[i]!));
  expect(wrong).toEqual([]);
  // Against the definition written out: softmax over the seven largest, cut at 0.95.
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const weights = order.slice(0, 7).map((id) => Math.exp(logits[id]! / 0.8));
  const sum = weights.reduce((a, b) => a + b);
  let kept = 0;
  let total = 0;
  while (total < 0.95) total += weights[kept++]! / sum;
  for (const [i, id] of order.entries()) {
    const p = i < kept ? weights[i]! / sum / total : 0;
    const share = tokens.filter((token) => token === id).length / count;
    // Five standard deviations.
    expect(Math.abs(share - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / count));
  }
  // A full output takes no more; the state goes on.
  recording.submit();
  expect([...(await bench.words(state, 4))]).toEqual([10 + count + 100, count + 100, 1234, 0]);
  expect((await bench.words(chosen, count)).join()).toBe(tokens.join());
  recording.release();
  bench.release();
});

test('a vocabulary of 151,936', async () => {
  const next = generator(5);
  const vocabulary = 151_936;
  const logits = filled(vocabulary, () => 2 * gaussian(next));
  const source = bench.upload(logits);
  const settings: Sampling[] = [
    GREEDY,
    { temperature: 1, topK: 0, topP: 1 },
    { temperature: 0.9, topK: 500, topP: 0.9 },
  ];
  settings.push({ temperature: 1.2, topK: 0, topP: 0.8 });
  const state = bench.upload(stateWords(0, 77));
  const chosen = bench.room(settings.length);
  const ids = bench.room(1);
  const common = { logits: source, row: 0, vocabulary, state, ids, chosen, capacity: settings.length, tokens: 1 };
  await bench.gpu.scheduler.run(settings.map((sampling) => chooseTokenStep({ ...common, sampling })));
  const tokens = await bench.words(chosen, settings.length);
  for (const [i, sampling] of settings.entries()) {
    const uniform = randomUniform(77, i + 1);
    if (sampling === GREEDY) expect(tokens[i]).toBe(chooseToken(logits, sampling, uniform));
    else expect(allowed(logits, sampling, uniform, tokens[i]!)).toBe(true);
  }
  bench.release();
});

test('logits that are not finite give token 0 and are named', async () => {
  for (const sampling of [GREEDY, { temperature: 1, topK: 3, topP: 0.9 }]) {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const logits = filled(600, (i) => i % 7);
      logits[321] = value;
      logits[500] = value;
      const state = bench.upload(stateWords());
      const ids = bench.room(1);
      const source = bench.upload(logits);
      const views = { logits: source, state, ids, chosen: bench.room(1) };
      await bench.gpu.scheduler.run([
        chooseTokenStep({ ...views, row: 0, vocabulary: 600, capacity: 1, tokens: 1, sampling }),
      ]);
      const words = await bench.words(state, 4);
      expect(words[STATE.failed]).toBe(322);
      expect(() => throwIfChoiceFailed(words)).toThrow(NonFiniteError);
      expect(() => throwIfChoiceFailed(words)).toThrow('token 321');
      // And what to do.
      expect(() => throwIfChoiceFailed(words)).toThrow(/compressa inspect <model> --histogram.*compressa verify/);
      expect([...(await bench.words(ids, 1))]).toEqual([0]);
      bench.release();
    }
  }
  expect(() => throwIfChoiceFailed(stateWords())).not.toThrow();
});

test('wrong arguments', () => {
  const view = { buffer: { size: 1 << 16 } as GPUBuffer };
  const good = { logits: view, state: view, ids: view, chosen: view, row: 0, vocabulary: 99, capacity: 4, tokens: 1 };
  expect(() => chooseTokenStep({ ...good, sampling: GREEDY })).not.toThrow();
  expect(() => chooseTokenStep({ ...good, row: 1000, sampling: GREEDY })).toThrow('"logits" needs');
  expect(() => chooseTokenStep({ ...good, sampling: { ...GREEDY, topP: 0 } })).toThrow(ArgumentError);
});
