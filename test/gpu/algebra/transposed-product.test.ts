import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { transposedProductStep } from '../../../src/kernels/transposed-product.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from '../layers/bench.ts';

const bench = openBench();
const UNIT = 2 ** -24;

test(`C = keep C + factor Aᵀ B: ${SHAPES} shapes, the bound of the docstring`, async () => {
  const next = generator(11);
  const errors = new Errors();
  const steps: Step[] = [];
  const cases = Array.from({ length: SHAPES }, (_, i) => {
    const whole = i % 2 === 0;
    const many = (most: number) => (whole ? 4 * size(next, most / 4) : size(next, most));
    const symmetric = i % 3 === 0;
    const rows = many(i % 10 === 0 ? 200 : 60);
    const columns = symmetric ? rows : many(i % 10 === 1 ? 200 : 60);
    const height = size(next, i % 10 === 2 ? 600 : 90);
    const aStart = i % 4 === 1 ? many(20) : 0;
    const bStart = symmetric ? aStart : i % 4 === 2 ? many(20) : 0;
    const aWidth = aStart + rows + (i % 5 === 0 ? many(8) : 0);
    const bWidth = symmetric ? aWidth : bStart + columns;
    const from = i % 6 === 1 ? Math.floor(next() * (height + 1)) : 0;
    const large = i % 7 === 0 ? 1e12 : 1;
    const a = filled(height * aWidth, () => large * gaussian(next));
    const b = symmetric ? a : filled(height * bWidth, () => gaussian(next));
    const keep = i % 4 === 3 ? 0.5 : 0;
    const factor = i % 5 === 4 ? -0.25 : 1;
    // Symmetric before, too.
    const random = filled(rows * columns, () => gaussian(next));
    const before = filled(rows * columns, (at) => {
      const [r, c] = [Math.floor(at / columns), at % columns];
      return symmetric ? random[r * columns + c]! + random[c * columns + r]! : random[at]!;
    });
    const onGpu = bench.upload(a);
    const c = keep === 0 ? bench.room(rows * columns) : bench.upload(before);
    steps.push(
      transposedProductStep({
        a: { ...onGpu, width: aWidth, start: aStart },
        b: { ...(symmetric ? onGpu : bench.upload(b)), width: bWidth, start: bStart },
        ...{ c, rows, columns, from, to: height, keep, factor, symmetric },
      }),
    );
    const part = (matrix: Float32Array, width: number, start: number, count: number) =>
      filled((height - from) * count, (at) => matrix[(from + Math.floor(at / count)) * width + start + (at % count)]!);
    const left = part(a, aWidth, aStart, rows);
    const right = part(b, bWidth, bStart, columns);
    return { c, rows, columns, left, right, keep, factor, before, height: height - from };
  });
  await bench.gpu.scheduler.run(steps);
  for (const { c, rows, columns, left, right, keep, factor, before, height } of cases) {
    const product = transposedProduct(left, right, rows, columns);
    const magnitude = transposedProduct(left.map(Math.abs), right.map(Math.abs), rows, columns);
    const wanted = product.map((sum, i) => factor * sum + keep * before[i]!);
    const bound = (32 + height / 32 + 3) * UNIT;
    errors.compare(
      `${rows}x${columns} over ${height}`,
      await bench.floats(c, rows * columns),
      wanted,
      (i) => bound * Math.abs(factor) * magnitude[i]! + 2 * UNIT * Math.abs(keep * before[i]!) + 2 ** -126,
    );
  }
  bench.release();
  expect(errors.verdict('transposed product')).toBe('');
});

test('sizes that do not fit are refused', () => {
  const view = { buffer: { size: 1024 } as GPUBuffer };
  const step = (change: object) => () =>
    transposedProductStep({
      ...{ a: { ...view, width: 8 }, b: { ...view, width: 8 }, c: view, rows: 8, columns: 8, from: 0, to: 8 },
      ...change,
    });
  expect(step({})).not.toThrow();
  for (const change of [{ rows: 9 }, { from: 9 }, { to: 33 }, { columns: 0 }, { c: { ...view, size: 16 } }]) {
    expect(step(change), JSON.stringify(change)).toThrow(ArgumentError);
  }
});
