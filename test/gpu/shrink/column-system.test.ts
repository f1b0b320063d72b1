import { expect, test } from 'vitest';
import { Scratch } from '../../../src/gpu/scratch.ts';
import { centerHessianStep } from '../../../src/kernels/center-hessian.ts';
import { refitColumns, unitCosts } from '../../../src/kernels/reference/refit-columns.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { DAMPING } from '../../../src/passes/methods/damped-cholesky.ts';
import { ColumnSystem } from '../../../src/passes/shrinking/column-system.ts';
import { Errors, filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

/** H of more inputs than columns, some columns large and some alike, and a matrix. */
function problem(next: () => number, k: number, rows: number) {
  const tokens = 2 * k;
  const x = filled(tokens * k, (i) => (1 + 3 * ((i % k) % 3)) * gaussian(next));
  for (let t = 0; t < tokens; t++) for (let j = 3; j < k; j += 5) x[t * k + j]! += x[t * k + j - 1]!;
  const h = transposedProduct(x, x, k, k).map((sum) => sum / tokens);
  const hessian = Float32Array.from(h);
  const meanSquare = Float32Array.from({ length: k }, (_, i) => hessian[i * (k + 1)]!);
  const damping = (DAMPING * meanSquare.reduce((sum, value) => sum + value, 0)) / k;
  const damped = Float64Array.from(hessian, (value, at) => value + (at % (k + 1) === 0 ? damping : 0));
  const weights = filled(rows * k, () => gaussian(next));
  return { hessian, meanSquare, damped, weights };
}

test('40 shapes: fitted columns and costs of units are those of the f64 reference', { timeout: 240_000 }, async () => {
  const next = generator(17);
  const [fits, prices] = [new Errors(), new Errors()];
  for (let round = 0; round < 40; round++) {
    const size = [1, 1, 1, 2, 3, 7][round % 6]!;
    const units = 2 + Math.floor(next() * (size === 1 ? 40 : 9));
    const [k, rows] = [size * units, 1 + Math.floor(next() * 40)];
    const { hessian, meanSquare, damped, weights } = problem(next, k, rows);
    const stays = Array.from({ length: units }, (_, unit) => unit).filter((unit) => unit === 0 || next() < 0.7);
    const columns = stays.flatMap((unit) => Array.from({ length: size }, (_, i) => unit * size + i));
    const n = columns.length;
    const scratch = new Scratch(bench.gpu);
    const system = await ColumnSystem.make(
      ...([bench.gpu, bench.upload(hessian), meanSquare, Uint32Array.from(columns)] as const),
    );
    if (typeof system === 'string') throw new Error(system);
    const fitted = await system.fitted({ view: bench.upload(weights), rows, k }, scratch);
    const wanted = refitColumns(weights, damped, columns, rows, k);
    const most = wanted.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0);
    const actual = await bench.floats(fitted, n * rows);
    const turned = Float64Array.from({ length: rows * n }, (_, at) => actual[(at % n) * rows + Math.floor(at / n)]!);
    // Systems whose condition is at most some 1000 (1% damping), in f32: 2^-24 · 1000 · a few.
    fits.compare(`${rows} x ${k}, ${n} stay`, turned, wanted, () => 5e-4 * most);
    if (stays.length > 1) {
      const costs = await system.costs(fitted, rows, size);
      const costly = unitCosts(weights, damped, columns, size, rows, k);
      prices.compare(`units of ${size}, ${n} stay`, costs, costly, (i) => 2e-3 * costly[i]! + 1e-9);
      // What was fitted is left as it is.
      expect(await bench.floats(fitted, n * rows)).toEqual(actual);
    }
    system.release();
    scratch.release();
    bench.release();
  }
  expect(fits.where).not.toBe('');
  expect(fits.worst, fits.where).toBeLessThan(1);
  expect(prices.worst, prices.where).toBeLessThan(1);
});

test('inputs that are all zero, or not finite, are a reason', async () => {
  const hessian = bench.upload(new Float32Array(16));
  const columns = Uint32Array.of(0, 2);
  expect(await ColumnSystem.make(bench.gpu, hessian, new Float32Array(4), columns)).toMatch('all zero');
  expect(await ColumnSystem.make(bench.gpu, hessian, Float32Array.of(1, Number.NaN, 1, 1), columns)).toMatch(
    'not finite',
  );
  bench.release();
});

test('columns that depend on each other are fitted with more damping', async () => {
  const next = generator(5);
  const k = 12;
  const x = filled(k, () => gaussian(next));
  // Of rank one.
  const hessian = filled(k * k, (at) => x[Math.floor(at / k)]! * x[at % k]!);
  const meanSquare = filled(k, (i) => hessian[i * (k + 1)]!);
  const system = await ColumnSystem.make(bench.gpu, bench.upload(hessian), meanSquare, Uint32Array.of(1, 4, 5));
  if (typeof system === 'string') throw new Error(system);
  const scratch = new Scratch(bench.gpu);
  const weights = filled(3 * k, () => gaussian(next));
  const fitted = await bench.floats(await system.fitted({ view: bench.upload(weights), rows: 3, k }, scratch), 9);
  // All inputs are multiples of x: three columns can make up for all.
  for (let row = 0; row < 3; row++) {
    let [before, after] = [0, 0];
    for (let j = 0; j < k; j++) before += weights[row * k + j]! * x[j]!;
    for (const [i, column] of [1, 4, 5].entries()) after += fitted[i * 3 + row]! * x[column]!;
    const part = x[1]! ** 2 + x[4]! ** 2 + x[5]! ** 2;
    const damping = (DAMPING * meanSquare.reduce((sum, value) => sum + value, 0)) / k;
    const own = weights[row * k + 1]! * x[1]! + weights[row * k + 4]! * x[4]! + weights[row * k + 5]! * x[5]!;
    // The closed form of ridge regression towards the columns as they were.
    expect(after).toBeCloseTo(own + ((before - own) * part) / (part + damping), 3);
  }
  system.release();
  scratch.release();
  bench.release();
});

test('centered: H of what differs from the mean, to the rounding of f32', async () => {
  const next = generator(18);
  for (const n of [1, 2, 7, 64, 65, 200]) {
    const mean = filled(n, () => 3 * gaussian(next));
    const hessian = filled(n * n, (at) => mean[Math.floor(at / n)]! * mean[at % n]! + gaussian(next));
    const view = bench.upload(hessian);
    await bench.gpu.scheduler.run([centerHessianStep({ hessian: view, mean: bench.upload(mean), n })]);
    for (const [at, value] of (await bench.floats(view, n * n)).entries()) {
      const product = mean[Math.floor(at / n)]! * mean[at % n]!;
      // A product and a difference, each rounded once, or together.
      const tolerance = 2 ** -23 * (Math.abs(product) + Math.abs(hessian[at]!));
      expect(Math.abs(value - (hessian[at]! - product))).toBeLessThanOrEqual(tolerance);
    }
    bench.release();
  }
});
