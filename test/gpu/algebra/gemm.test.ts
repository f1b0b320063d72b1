import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { gemmScratch, gemmSteps, usualGemm } from '../../../src/kernels/gemm.ts';
import { gaussianMatrix } from '../../../src/kernels/reference/gaussian.ts';
import { gemm, type StoredMatrix } from '../../../src/kernels/reference/gemm.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from '../layers/bench.ts';

const bench = openBench();
const UNIT = 2 ** -24;

test(`C = keep C + factor op(A) op(B): ${SHAPES} shapes, all transposes, the bound of the docstring`, async () => {
  const next = generator(71);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, i) => {
    const flag = (bit: number) => ((i >> bit) & 1) === 1;
    const [ta, tb, tc, whole] = [flag(0), flag(1), flag(2), flag(3)];
    const symmetric = i % 7 === 3;
    const rows = size(next, i % 10 === 0 ? 300 : 60);
    const columns = symmetric ? rows : size(next, i % 10 === 1 ? 300 : 60);
    const inner = size(next, i % 10 === 2 ? 3000 : 90);
    const large = i % 11 === 0 ? 1e18 : 1;
    const stored = (high: number, wide: number, transposed: boolean): StoredMatrix => {
      const start = i % 3 === 0 ? (whole ? 4 : 1) * size(next, 9) : 0;
      const width = whole ? 4 * Math.ceil((wide + size(next, 5) - 1) / 4) : wide + size(next, 5) - 1;
      // What lies between the rows, and behind them, is NaN.
      const values = filled(start + high * width, (at) =>
        at >= start && (at - start) % width < wide ? large * gaussian(next) : Number.NaN,
      );
      return { values, width, start, transposed };
    };
    const a = stored(ta ? inner : rows, ta ? rows : inner, ta);
    const b = symmetric ? { ...a, transposed: !ta } : stored(tb ? columns : inner, tb ? inner : columns, tb);
    const keep = i % 4 === 3 ? 0.5 : 0;
    const factor = i % 5 === 4 ? -0.25 : 1;
    const random = filled(rows * columns, () => gaussian(next));
    const before = symmetric
      ? random.map((v, at) => v + random[(at % columns) * columns + Math.floor(at / columns)]!)
      : random;
    const width = (tc ? rows : columns) + size(next, 4) - 1;
    const start = i % 5 === 0 ? 3 : 0;
    const place = (at: number) => {
      const [r, c] = [Math.floor(at / columns), at % columns];
      return start + (tc ? c * width + r : r * width + c);
    };
    const length = start + (tc ? columns : rows) * width;
    const held = new Float32Array(length).fill(Number.NaN);
    if (keep !== 0) for (const [at, value] of before.entries()) held[place(at)] = value;
    const [onA, c] = [bench.upload(a.values as Float32Array), bench.upload(held)];
    const scratch = gemmScratch(rows, columns, inner);
    const variant = i % 2 === 0 ? usualGemm(bench.gpu) : 'tile';
    steps.push(
      ...gemmSteps({
        a: { ...onA, width: a.width, start: a.start!, transposed: ta },
        b: {
          ...(symmetric ? onA : bench.upload(b.values as Float32Array)),
          width: b.width,
          start: b.start!,
          transposed: b.transposed!,
        },
        ...{ c: { ...c, width, start, transposed: tc }, rows, columns, inner, keep, factor, symmetric, variant },
        ...(scratch > 0 && { scratch: bench.room(scratch / 4) }),
      }),
    );
    return { a, b, c, rows, columns, inner, keep, factor, before, place, length };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { a, b, c, rows, columns, inner, keep, factor, before, place, length } of cases) {
    const sizes = (m: StoredMatrix) => ({ ...m, values: Float32Array.from(m.values, Math.abs) });
    const product = gemm(a, b, rows, columns, inner);
    const magnitude = gemm(sizes(a), sizes(b), rows, columns, inner);
    const made = await bench.floats(c, length);
    const bound = (32 + inner / 32 + 4) * UNIT;
    errors.compare(
      `${rows}x${columns} over ${inner}`,
      product.map((_, at) => made[place(at)]!),
      product.map((sum, at) => factor * sum + (keep === 0 ? 0 : keep * before[at]!)),
      (at) => bound * Math.abs(factor) * magnitude[at]! + 3 * UNIT * Math.abs(keep * before[at]!) + 2 ** -126,
    );
    // Nothing is written between the rows of C.
    const written = new Set(Array.from(product.keys(), place));
    expect(made.every((value, at) => written.has(at) || Number.isNaN(value))).toBe(true);
  }
  bench.release();
  expect(errors.verdict('gemm')).toBe('');
});

test('a seed in place of an operand: products with the normal deviates of the reference', async () => {
  const next = generator(72);
  const errors = new Errors();
  for (const [rows, columns, inner, seed] of [
    [9, 7, 33, 0],
    [70, 24, 100, 123456789],
    [5, 66, 300, 2 ** 32 - 1],
  ] as const) {
    const width = 4 * Math.ceil(inner / 4);
    const a = filled(rows * width, () => gaussian(next));
    const deviates = gaussianMatrix(seed, inner, columns);
    const size = { values: a.map(Math.abs), width };
    const magnitude = gemm(size, { values: deviates.map(Math.abs), width: columns }, rows, columns, inner);
    for (const variant of ['tile', usualGemm(bench.gpu)] as const) {
      const c = bench.room(rows * columns);
      const onGpu = { ...bench.upload(a), width };
      await bench.gpu.scheduler.run(
        gemmSteps({ a: onGpu, b: { seed }, c: { ...c, width: columns }, rows, columns, inner, variant }),
      );
      // WGSL's log, cos and sin are off by 2^-11 at most; the absolute error of cos counts against a radius of up to 4.9.
      errors.compare(
        `${rows}x${columns} over ${inner}, ${variant}`,
        await bench.floats(c, rows * columns),
        gemm({ values: a, width }, { values: deviates, width: columns }, rows, columns, inner),
        (at) => 2 ** -11 * (magnitude[at]! + 5 * Math.sqrt(inner)) + 1e-6,
      );
    }
    bench.release();
  }
  expect(errors.verdict('random operand')).toBe('');
  // Mean, variance and fourth moment of a normal distribution, to four standard errors.
  const many = gaussianMatrix(3, 1000, 100);
  const moment = (power: number) => many.reduce((sum, value) => sum + value ** power, 0) / many.length;
  expect(Math.abs(moment(1))).toBeLessThan(4 * Math.sqrt(1 / many.length));
  expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / many.length));
  expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / many.length));
});

test('sizes that do not fit are refused', () => {
  const view = { buffer: { size: 1024 } as GPUBuffer, width: 16 };
  const steps = (change: object) => () =>
    gemmSteps({ ...{ a: view, b: view, c: view, rows: 16, columns: 16, inner: 16 }, ...change });
  expect(steps({})).not.toThrow();
  for (const change of [
    { rows: 17 },
    { columns: 17 },
    { inner: 0 },
    { a: { ...view, start: 4 } },
    { a: { ...view, start: -4 } },
    { b: { ...view, width: 15 } },
    { c: { ...view, width: 15 } },
    { c: { ...view, size: 16 } },
    { inner: 2048, a: { buffer: { size: 2 ** 20 }, width: 2048 }, b: { buffer: { size: 2 ** 20 }, width: 16 } },
  ]) {
    expect(steps(change), JSON.stringify(change)).toThrow(ArgumentError);
  }
});
