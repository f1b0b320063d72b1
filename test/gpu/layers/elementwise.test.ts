import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { add } from '../../../src/graph/reference/add.ts';
import { geluMul } from '../../../src/graph/reference/gelu-mul.ts';
import { rmsNorm } from '../../../src/graph/reference/rms-norm.ts';
import { siluMul } from '../../../src/graph/reference/silu-mul.ts';
import { softCap } from '../../../src/graph/reference/soft-cap.ts';
import { addStep } from '../../../src/kernels/add.ts';
import { gatedStep } from '../../../src/kernels/gated.ts';
import { rmsNormStep } from '../../../src/kernels/rms-norm.ts';
import { softCapStep } from '../../../src/kernels/soft-cap.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from './bench.ts';

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
    steps.push(gatedStep({ activation: 'silu', gate: bench.upload(gate), up: bench.upload(up), out, count }));
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

test(`gelu-mul: ${SHAPES} shapes`, async () => {
  const next = generator(4);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const count = size(next, 3000);
    const gate = filled(count, n % 3 === 0 ? () => 5 * gaussian(next) : DRAWS[n % DRAWS.length]!(next));
    const up = filled(count, DRAWS[(n >> 3) % DRAWS.length]!(next));
    if (n % 5 === 0) gate[0] = [3e38, -3e38, 11.9, -11.9, -12.1][(n / 5) % 5]!;
    if (n % 5 === 0) up[0] = 1;
    const out = bench.room(count);
    steps.push(gatedStep({ activation: 'gelu', gate: bench.upload(gate), up: bench.upload(up), out, count }));
    return { gate, up, out, count };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { gate, up, out, count } of cases) {
    const wanted = geluMul(gate, up);
    // As for silu-mul, at 2u in place of g: 2u itself is off by five units, which exp multiplies by |2u|.
    errors.compare(`${count}`, await bench.floats(out, count), wanted, (i) => {
      const g = Math.min(Math.abs(gate[i]!), 12);
      const twice = 2 * Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
      return (
        EPSILON * (8 + 7 * Math.min(twice, 104)) * Math.abs(wanted[i]!) +
        2 ** -125 * (1 + Math.abs(gate[i]!)) * (1 + Math.abs(up[i]!))
      );
    });
  }
  bench.release();
  expect(errors.verdict('gelu-mul')).toBe('');
});

test(`soft-cap: ${SHAPES} shapes`, async () => {
  const next = generator(5);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, n) => {
    const count = size(next, 3000);
    const cap = [30, 50, 0.001, 1, 1e6][n % 5]!;
    const y = filled(count, DRAWS[n % DRAWS.length]!(next));
    y[0] = [3e38, -3e38, 0.6249 * cap, 0.6251 * cap, -20 * cap][((n / 5) % 5) | 0]!;
    const view = bench.upload(y);
    steps.push(softCapStep({ y: view, count, cap }));
    return { y, view, cap, count };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { y, view, cap, count } of cases) {
    const wanted = softCap(y, cap);
    // Two divisions of 2.5 units; exp off by 3 + 2|2y| units of e <= 0.29, with y's own 2.5 units times |2y|; the polynomial and
    // roundings the rest: 16 in all. Denormal quotients may be flushed.
    errors.compare(
      `${count} capped at ${cap}`,
      await bench.floats(view, count),
      wanted,
      (i) => EPSILON * 16 * Math.abs(wanted[i]!) + 2 ** -126 * (1 + cap),
    );
  }
  bench.release();
  expect(errors.verdict('soft-cap')).toBe('');
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
    const offset = n % 4 < 2 ? 0 : 1;
    const out = bench.room(tokens * width);
    steps.push(
      rmsNormStep({ x: bench.upload(x), weight: bench.upload(weight), out, epsilon, offset, tokens, width, threads }),
    );
    return { x, weight, out, epsilon, offset, tokens, width, threads };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { x, weight, out, epsilon, offset, tokens, width, threads } of cases) {
    const wanted = rmsNorm(x, weight, epsilon, offset);
    // The sum has at most width/threads roundings in a row and those of the tree, and counts half under the root; root, two
    // divisions and products are worth about ten units. Weight plus offset rounds once, at the larger of the two.
    const units = 12 + (width / threads + Math.log2(threads)) / 2;
    const label = `${tokens} x ${width} by ${threads}, epsilon ${epsilon}`;
    errors.compare(label, await bench.floats(out, tokens * width), wanted, (i) => {
      const cancelled = offset === 0 ? 0 : (Math.abs(weight[i % width]!) + 1) / Math.abs(weight[i % width]! + 1);
      return EPSILON * (units + cancelled) * Math.abs(wanted[i]!) + 2 ** -100;
    });
  }
  bench.release();
  expect(errors.verdict('rms-norm')).toBe('');
});

test('more workgroups than one dimension holds', async () => {
  const tokens = 65537;
  const x = filled(tokens, (i) => (i % 7) - 3);
  const out = bench.room(tokens);
  const weight = bench.upload(Float32Array.of(2));
  // Few threads: 65537 workgroups full of barriers take a software device a minute.
  await bench.gpu.scheduler.run([
    rmsNormStep({ x: bench.upload(x), weight, out, epsilon: 1e-5, tokens, width: 1, threads: 8 }),
  ]);
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
  expect(() => rmsNormStep({ ...norm, epsilon: 1, offset: Number.NaN })).toThrow(ArgumentError);
  expect(() => softCapStep({ y: view(16), count: 4, cap: 1e7 })).toThrow(ArgumentError);
});
