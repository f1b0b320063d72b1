import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { rotary } from '../../../src/graph/reference/rotary.ts';
import { rotaryFrequencies, rotaryStep } from '../../../src/kernels/rotary.ts';
import { stateWords } from '../../../src/kernels/state.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from './bench.ts';

const bench = openBench();

test(`${SHAPES} shapes, positions up to 2^20`, async () => {
  const next = generator(1);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const tokens = size(next, 5);
    const heads = size(next, 4);
    const headDim = 2 * size(next, n % 4 === 0 ? 128 : 32);
    const theta = [1e4, 5e5, 100][n % 3]!;
    const start = [0, 1, 4095, 131071, Math.floor(next() * 131072), 2 ** 20][n % 6]!;
    const magnitude = [1, 1000, 1e30, 1e-20][n % 4]!;
    const x = filled(tokens * heads * headDim, () => (n % 10 === 9 ? -magnitude : magnitude * gaussian(next)));
    const inverseFrequencies = Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
    const out = bench.room(x.length);
    const frequencies = bench.upload(rotaryFrequencies(inverseFrequencies));
    const state = bench.upload(stateWords(start));
    steps.push(rotaryStep({ x: bench.upload(x), frequencies, state, out, tokens, heads, headDim }));
    return { x, out, start, tokens, heads, headDim, inverseFrequencies };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { x, out, start, tokens, heads, headDim, inverseFrequencies } of cases) {
    const wanted = rotary(x, heads * headDim, { style: 'half', headDim, inverseFrequencies }, start);
    // Cosine and sine are off by at most 2^-22 (polynomials, roundings, 2^-32 turns), at any position; the sum of two
    // products rounds three times.
    const half = headDim / 2;
    const allowed = (i: number) => {
      const partner = i % headDim < half ? i + half : i - half;
      return 2 ** -22 * 1.5 * (Math.abs(x[i]!) + Math.abs(x[partner]!));
    };
    const label = `${tokens} x ${heads} x ${headDim} at ${start}`;
    errors.compare(label, await bench.floats(out, x.length), wanted, allowed);
  }
  bench.release();
  expect(errors.verdict('rotary')).toBe('');
});

test('wrong arguments', () => {
  const buffer = { size: 4096 } as GPUBuffer;
  const views = { x: { buffer }, frequencies: { buffer }, state: { buffer }, out: { buffer } };
  expect(() => rotaryStep({ ...views, tokens: 1, heads: 1, headDim: 7 })).toThrow(ArgumentError);
  expect(() => rotaryFrequencies([1, Number.NaN])).toThrow(ArgumentError);
  expect(() => stateWords(-1)).toThrow(ArgumentError);
});
