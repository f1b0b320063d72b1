import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { hadamard } from '../../../src/graph/reference/hadamard.ts';
import { hadamardStep } from '../../../src/kernels/hadamard.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from './bench.ts';

const bench = openBench();
const EPSILON = 2 ** -23;

const DRAWS: readonly ((next: () => number) => () => number)[] = [
  (next) => () => gaussian(next),
  (next) => () => gaussian(next) * 10 ** (next() * 24 - 12),
  () => () => 3.5,
  () => () => 0,
  // A few huge ones, which the transform spreads.
  (next) => () => (next() < 0.02 ? 1e6 : 1e-3) * gaussian(next),
  // Of a block of 4096, results are numbers and unscaled sums are not.
  () => () => 1.5e36,
];

test(`hadamard: ${SHAPES} shapes`, async () => {
  const next = generator(4);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const block = 2 ** (n % 13);
    const count = block * size(next, 3) * size(next, block > 256 ? 2 : 40);
    const x = filled(count, DRAWS[n % DRAWS.length]!(next));
    const out = bench.room(count);
    steps.push(hadamardStep({ x: bench.upload(x), out, count, block, threads: n % 2 === 0 ? 256 : 8 }));
    return { x, out, count, block };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { x, out, count, block } of cases) {
    // A rounding for the scale, one when it is applied and one a stage, each of at most what all magnitudes of the block add up to.
    const units = Math.log2(block) + 2;
    const sums = new Float64Array(count / block);
    for (let i = 0; i < count; i++) sums[Math.floor(i / block)]! += Math.abs(x[i]!) / Math.sqrt(block);
    errors.compare(
      `${count} in blocks of ${block}`,
      await bench.floats(out, count),
      hadamard(x, block),
      (i) => EPSILON * units * sums[Math.floor(i / block)]! + block * 2 ** -126,
    );
  }
  bench.release();
  expect(errors.verdict('hadamard')).toBe('');
});

test('the reference is the matrix, and its own inverse', () => {
  const block = 8;
  const parity = (n: number): number => (n === 0 ? 0 : (n & 1) ^ parity(n >> 1));
  const x = Float64Array.from({ length: 3 * block }, (_, i) => Math.sin(i));
  const y = hadamard(x, block);
  for (let start = 0; start < x.length; start += block) {
    for (let i = 0; i < block; i++) {
      let sum = 0;
      for (let j = 0; j < block; j++) sum += (parity(i & j) ? -1 : 1) * x[start + j]!;
      expect(y[start + i]).toBeCloseTo(sum / Math.sqrt(block), 12);
    }
  }
  for (const [i, value] of hadamard(y, block).entries()) expect(value).toBeCloseTo(x[i]!, 12);
});

test('wrong arguments', () => {
  const view = (bytes: number) => ({ buffer: { size: bytes } as GPUBuffer });
  const args = { x: view(96), out: view(96), count: 24 };
  expect(() => hadamardStep({ ...args, block: 3 })).toThrow(ArgumentError);
  expect(() => hadamardStep({ ...args, block: 16 })).toThrow('blocks of 16 do not divide 24 elements');
  expect(() => hadamardStep({ ...args, block: 8192, count: 8192 })).toThrow('at most 4096');
  expect(() => hadamardStep({ ...args, block: 8, count: 48 })).toThrow('"x" needs 192 bytes');
});
