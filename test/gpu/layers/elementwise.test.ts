import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { add } from '../../../src/graph/reference/add.ts';
import { rmsNorm } from '../../../src/graph/reference/rms-norm.ts';
import { siluMul } from '../../../src/graph/reference/silu-mul.ts';
import { addStep } from '../../../src/kernels/add.ts';
import { rmsNormStep } from '../../../src/kernels/rms-norm.ts';
import { siluMulStep } from '../../../src/kernels/silu-mul.ts';
import { Errors, filled, gaussian, generator, openBench, SHAPES, size } from './bench.ts';

const bench = openBench();
const EPSILON = 2 ** -23;

/** Ordinary values, and those made to break things. */
const DRAWS: readonly ((next: () => number) => () => number)[] = [
  (next) => () => gaussian(next),
  (next) => () => gaussian(next) * 100,
  (next) => () => gaussian(next) * 1e-6,
  (next) => () => gaussian(next) * 10 ** (next() * 24 - 12),
  () => () => 3.5,
  () => () => 0,
  (next) => () => -80 - 40 * next(),
  (next) => () => (next() < 0.02 ? 1e6 : 1e-3) * gaussian(next),
];

test(`add: ${SHAPES} shapes, one rounding`, async () => {
  const next = generator(1);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const count = size(next, 3000);
    const a = filled(count, DRAWS[n % DRAWS.length]!(next));
    const b = filled(count, DRAWS[(n >> 3) % DRAWS.length]!(next));
    const out = bench.room(count);
    steps.push(addStep({ a: bench.upload(a), b: bench.upload(b), out, count }));
    return { a, b, out, count };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { a, b, out, count } of cases) {
    const wanted = add(a, b);
    errors.compare(
      `${count}`,
      await bench.floats(out, count),
      wanted,
      (i) => EPSILON * Math.abs(wanted[i]!) + 2 ** -126,
    );
  }
  bench.release();
  expect(errors.verdict('add')).toBe('');
});

test(`silu-mul: ${SHAPES} shapes`, async () => {
  const next = generator(2);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const count = size(next, 3000);
    const gate = filled(count, DRAWS[n % DRAWS.length]!(next));
    const up = filled(count, DRAWS[(n >> 3) % DRAWS.length]!(next));
    if (n % 5 === 0) gate[0] = [1e30, -1e30, 88.7, -88.7, -104.5][(n / 5) % 5]!;
    if (n % 5 === 0) up[0] = 1;
    const out = bench.room(count);
    steps.push(siluMulStep({ gate: bench.upload(gate), up: bench.upload(up), out, count }));
    return { gate, up, out, count };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { gate, up, out, count } of cases) {
    const wanted = siluMul(gate, up);
    // WGSL allows exp 3 + 2|g| units in the last place, and the division 2.5; the rest are roundings. Where exp or the
    // product is subnormal it may be flushed: then up to |gate·up| · 2^-126 is lost.
    errors.compare(
      `${count}`,
      await bench.floats(out, count),
      wanted,
      (i) =>
        EPSILON * (8 + 2 * Math.min(Math.abs(gate[i]!), 104)) * Math.abs(wanted[i]!) +
        2 ** -125 * (1 + Math.abs(gate[i]!)) * (1 + Math.abs(up[i]!)),
    );
  }
  bench.release();
  expect(errors.verdict('silu-mul')).toBe('');
});

test(`rms-norm: ${SHAPES} shapes`, async () => {
  const next = generator(3);
  const errors = new Errors();
  const steps: Step[] = [];
  const draws = [
    ...DRAWS,
    // Squares beyond f32's range, on both ends.
    (n: () => number) => () => gaussian(n) * 1e30,
    (n: () => number) => () => gaussian(n) * 1e-30,
    () => () => -3e38,
  ];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const tokens = size(next, 6);
    const width = n % 20 === 0 ? 4096 + (n % 3) : size(next, 900);
    const x = filled(tokens * width, draws[n % draws.length]!(next));
    const weight = filled(width, () => gaussian(next));
    const epsilon = [1e-5, 1e-6, 1e-12][n % 3]!;
    const threads = n % 2 === 0 ? 256 : 8;
    const out = bench.room(tokens * width);
    steps.push(rmsNormStep({ x: bench.upload(x), weight: bench.upload(weight), out, epsilon, tokens, width, threads }));
    return { x, weight, out, epsilon, tokens, width, threads };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { x, weight, out, epsilon, tokens, width, threads } of cases) {
    const wanted = rmsNorm(x, weight, epsilon);
    // The sum has at most width/threads roundings in a row and those of the tree, and counts half under the root; root, two
    // divisions and products are worth about ten units.
    const units = 12 + (width / threads + Math.log2(threads)) / 2;
    const label = `${tokens} x ${width} by ${threads}, epsilon ${epsilon}`;
    errors.compare(
      label,
      await bench.floats(out, tokens * width),
      wanted,
      (i) => EPSILON * units * Math.abs(wanted[i]!) + 2 ** -100,
    );
  }
  bench.release();
  expect(errors.verdict('rms-norm')).toBe('');
});

test('more workgroups than one dimension holds', async () => {
  const tokens = 65537;
  const x = filled(tokens, (i) => (i % 7) - 3);
  const out = bench.room(tokens);
  const weight = bench.upload(Float32Array.of(2));
  await bench.gpu.scheduler.run([rmsNormStep({ x: bench.upload(x), weight, out, epsilon: 1e-5, tokens, width: 1 })]);
  const errors = new Errors();
  errors.compare('tall', await bench.floats(out, tokens), rmsNorm(x, Float32Array.of(2), 1e-5), () => 1e-5);
  bench.release();
  expect(errors.verdict('tall')).toBe('');
});

test('wrong arguments', () => {
  const view = (bytes: number) => ({ buffer: { size: bytes } as GPUBuffer });
  expect(() => addStep({ a: view(16), b: view(12), out: view(16), count: 4 })).toThrow('"b" needs 16 bytes');
  expect(() => addStep({ a: view(16), b: view(16), out: view(16), count: 0 })).toThrow(ArgumentError);
  const norm = { x: view(16), weight: view(16), out: view(16), tokens: 1, width: 4 };
  expect(() => rmsNormStep({ ...norm, epsilon: Number.NaN })).toThrow(ArgumentError);
  expect(() => rmsNormStep({ ...norm, epsilon: 0 })).toThrow(ArgumentError);
});
