import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { Orthonormalizer } from '../../../src/passes/lowrank/orthonormalizer.ts';
import { qr } from '../../../src/passes/lowrank/qr.ts';
import { qr as reference } from '../../../src/passes/lowrank/reference/qr.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';
import { deviation, geometric, withSpectrum } from './matrices.ts';

const bench = openBench();
const UNIT = 2 ** -24;

/** Q and R of the GPU, with what both are held to: orthonormal columns, QR = A column by column, R a triangle. */
async function factor(name: string, a: Float32Array, rows: number, columns: number) {
  const made = await qr(bench.gpu, bench.upload(a), rows, columns);
  const q = await bench.floats(made.q, rows * columns);
  const r = await bench.floats(made.r, columns * columns);
  made.release();
  bench.release();
  expect(deviation(q, rows, columns), `${name}: orthonormality`).toBeLessThanOrEqual(5e-6);
  const back = gemm({ values: q, width: columns }, { values: r, width: columns }, rows, columns, columns);
  for (let j = 0; j < columns; j++) {
    let [error, size] = [0, 0];
    for (let i = 0; i < rows; i++) {
      error += (back[i * columns + j]! - a[i * columns + j]!) ** 2;
      size += a[i * columns + j]! ** 2;
    }
    // Three passes and R = QᵀA, each of whose sums is off by (32 + rows / 32) units at most; they add up at random.
    expect(Math.sqrt(error), `${name}: column ${j}`).toBeLessThanOrEqual(
      (64 + rows / 8) * UNIT * Math.sqrt(size) + 1e-37,
    );
    for (let i = j + 1; i < columns; i++) expect(r[i * columns + j]).toBe(0);
  }
  return { q, r, method: made.method };
}

test('Q and R of well conditioned matrices are those of the f64 reference', async () => {
  const next = generator(51);
  for (const [rows, columns] of [
    [1, 1],
    [7, 3],
    [33, 33],
    [64, 16],
    [200, 17],
    [1000, 40],
  ] as const) {
    const a = withSpectrum(rows, columns, geometric(columns, 20), next);
    const { q, r, method } = await factor(`${rows}x${columns}`, a, rows, columns);
    expect(method).toBe('cholesky');
    const wanted = reference(a, rows, columns);
    // Off by the condition number times the backward error.
    const allowed = 20 * (64 + rows / 8) * UNIT;
    expect(Math.max(...q.map((value, i) => Math.abs(value - wanted.q[i]!)))).toBeLessThanOrEqual(allowed);
    expect(Math.max(...r.map((value, i) => Math.abs(value - wanted.r[i]!)))).toBeLessThanOrEqual(allowed);
  }
});

test('columns stay orthonormal whatever the condition number', async () => {
  const next = generator(52);
  const methods: string[] = [];
  for (const condition of [1e2, 1e4, 1e6, 1e8, 1e10, 1e12]) {
    for (const [rows, columns] of [
      [50, 40],
      [300, 36],
      [64, 64],
    ] as const) {
      const a = withSpectrum(rows, columns, geometric(columns, condition), next);
      methods.push((await factor(`${rows}x${columns}, ${condition}`, a, rows, columns)).method);
    }
  }
  // Both ways are taken.
  expect(methods.slice(0, 6)).toEqual(Array(6).fill('cholesky'));
  expect(methods).toContain('householder');
});

test('dependent columns, zeros, large and small ones', async () => {
  const next = generator(53);
  const [rows, columns] = [90, 37];
  const random = filled(rows * columns, () => gaussian(next));
  const of = (change: (value: number, row: number, column: number) => number) =>
    random.map((value, i) => change(value, Math.floor(i / columns), i % columns));
  const cases: Record<string, Float32Array> = {
    zeros: of(() => 0),
    ones: of(() => 1),
    'zero columns': of((value, _, column) => (column % 3 === 0 ? 0 : value)),
    'twice the same': of((_, row, column) => random[row * columns + (column >> 1)]!),
    'one element': of((_, row, column) => (row === 70 && column === 20 ? 3 : 0)),
    graded: of((value, _, column) => value * 10 ** (column - 18)),
    large: of((value) => value * 1e30),
    small: of((value) => value * 1e-30),
    denormal: of((_, row, column) => (row === column ? 1e-40 : 0)),
  };
  for (const [name, a] of Object.entries(cases)) await factor(name, a, rows, columns);
});

test('Householder reflections alone give the same as Cholesky', async () => {
  const next = generator(54);
  for (const [rows, columns] of [
    [1, 1],
    [20, 18],
    [65, 16],
    [700, 50],
  ] as const) {
    const a = withSpectrum(rows, columns, geometric(columns, 10), next);
    const work = new Orthonormalizer(bench.gpu, rows, columns);
    const to = bench.room(rows * columns);
    await work.householder({ ...bench.upload(a), width: columns }, { ...to, width: columns }, rows, columns);
    const q = await bench.floats(to, rows * columns);
    work.release();
    bench.release();
    const wanted = reference(a, rows, columns).q;
    expect(deviation(q, rows, columns)).toBeLessThanOrEqual(5e-6);
    expect(Math.max(...q.map((value, i) => Math.abs(value - wanted[i]!)))).toBeLessThanOrEqual(
      10 * (64 + rows / 8) * UNIT,
    );
  }
});

test('a matrix that is wider than high is refused', async () => {
  for (const [rows, columns] of [
    [2, 3],
    [0, 0],
    [1.5, 1],
  ] as const) {
    await expect(qr(bench.gpu, bench.room(6), rows, columns)).rejects.toThrow(ArgumentError);
  }
});
