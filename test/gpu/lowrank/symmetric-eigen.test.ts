import { expect, test } from 'vitest';
import { ArgumentError, NonFiniteError } from '../../../src/errors.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { symmetricEigen as reference } from '../../../src/passes/lowrank/reference/symmetric-eigen.ts';
import { symmetricEigen } from '../../../src/passes/lowrank/symmetric-eigen.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';
import { deviation } from './matrices.ts';

const bench = openBench();

/** Symmetric matrices, by what is special about them. */
function matrices(): Record<string, { n: number; values: Float32Array }> {
  const next = generator(71);
  const of = (n: number, value: (row: number, column: number) => number) => ({
    n,
    values: filled(n * n, (i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      return value(Math.min(row, column), Math.max(row, column));
    }),
  });
  const random = (n: number, scale = 1) => {
    const draws = filled(n * n, () => scale * gaussian(next));
    return of(n, (row, column) => draws[row * n + column]!);
  };
  return {
    one: random(1),
    two: random(2),
    random: random(37),
    larger: random(96),
    zero: of(5, () => 0),
    identity: of(9, (row, column) => Number(row === column)),
    'opposite pairs': of(12, (row, column) => Number(row + column === 11)),
    negative: of(8, (row, column) => (row === column ? -1 - row : 0)),
    large: random(20, 1e18),
    small: random(20, 1e-18),
  };
}

test('values are those of the f64 reference, vectors orthonormal, and both give the matrix back', async () => {
  for (const [what, { n, values }] of Object.entries(matrices())) {
    const found = await symmetricEigen(bench.gpu, bench.upload(values), n);
    const vectors = await bench.floats(found.vectors, n * n);
    const bound = Math.max(
      ...Array.from({ length: n }, (_, i) => values.slice(i * n, (i + 1) * n).reduce((a, b) => a + Math.abs(b), 0)),
    );
    const exact = reference(values, n).values;
    for (const [i, value] of found.values.entries()) {
      expect(Math.abs(value - exact[i]!), `${what}, ${i}`).toBeLessThanOrEqual(3e-5 * bound);
    }
    expect(deviation(vectors, n, n), what).toBeLessThanOrEqual(2e-5);
    const scaled = Float64Array.from(vectors, (value, i) => value * found.values[i % n]!);
    const made = gemm({ values: scaled, width: n }, { values: vectors, width: n, transposed: true }, n, n, n);
    for (const [i, value] of made.entries()) {
      expect(Math.abs(value - values[i]!), what).toBeLessThanOrEqual(1e-4 * bound);
    }
    found.release();
    bench.release();
  }
});

test('what is not symmetric, not square or not finite is refused', async () => {
  const refused = (values: number[], n: number) =>
    symmetricEigen(bench.gpu, bench.upload(Float32Array.from(values)), n).catch((error: unknown) => error);
  expect(await refused([1, 2, 3, 4], 2)).toBeInstanceOf(ArgumentError);
  expect(await refused([1], 0)).toBeInstanceOf(ArgumentError);
  expect(await refused([1, Number.NaN, Number.NaN, 1], 2)).toBeInstanceOf(NonFiniteError);
  bench.release();
});
