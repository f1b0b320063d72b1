import { expect, test } from 'vitest';
import { CHOLESKY_BLOCK, choleskySteps } from '../../../src/kernels/cholesky.ts';
import { CODES_BLOCK } from '../../../src/kernels/choose-codes.ts';
import { inverseRootsSteps } from '../../../src/kernels/inverse-roots.ts';
import { gatherColumnsStep, permuteSymmetricStep } from '../../../src/kernels/permute.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { refitKeptSteps } from '../../../src/kernels/refit-kept.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

interface Problem {
  readonly rows: number;
  readonly k: number;
  readonly weights: Float32Array;
  readonly hessian: Float32Array;
  readonly order: Uint32Array;
  /** Of the weight at [row, column]. */
  readonly kept: (row: number, column: number) => boolean;
  readonly mask: Uint32Array;
}

function problem(rows: number, k: number, next: () => number): Problem {
  const tokens = 2 * k;
  const shared = filled(tokens, () => gaussian(next));
  const x = filled(tokens * k, (i) => (1 + 3 * ((i % k) % 3)) * (gaussian(next) + shared[Math.floor(i / k)]!));
  const sums = transposedProduct(x, x, k, k);
  const order = Uint32Array.from({ length: k }, (_, i) => i);
  for (let i = k - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const words = Math.ceil(k / 32);
  const mask = Uint32Array.from({ length: rows * words }, () => 2 ** 32 * next());
  return {
    ...{ rows, k, order, mask },
    weights: filled(rows * k, () => gaussian(next)),
    hessian: filled(k * k, (i) => sums[i]! / tokens + (i % (k + 1) === 0 ? 0.5 : 0)),
    kept: (row, column) => ((mask[row * words + (column >> 5)]! >>> (column & 31)) & 1) === 1,
  };
}

/** SparseGPT's pass and rounds of coordinate descent: errors [rows, k] after each, and the matrix that it ran with. */
async function refit({ rows, k, weights, hessian, order, mask }: Problem, descents: number) {
  const [matrix, w] = [bench.room(k * k), bench.room(rows * k)];
  const [h, permuted, bits] = [bench.upload(hessian), bench.upload(order), bench.upload(mask)];
  const errors = bench.upload(new Float32Array(rows * k));
  const scratch = bench.room(CODES_BLOCK * rows);
  const results: { errors: Float64Array; matrix: Float32Array }[] = [];
  for (let round = 0; round <= descents; round++) {
    const factor =
      round === 0
        ? choleskySteps({
            ...{ matrix, n: k, scratch: bench.room(CHOLESKY_BLOCK * k), failed: bench.upload(Uint32Array.of(0)) },
          })
        : [];
    await bench.gpu.scheduler.run([
      permuteSymmetricStep({ matrix: h, order: permuted, out: matrix, n: k, damping: 0 }),
      ...factor,
      gatherColumnsStep({ weights: bench.upload(weights), order: permuted, out: w, rows, k }),
      ...refitKeptSteps({
        ...{ matrix, weights: w, order: permuted, mask: bits, errors, scratch, rows, k },
        pass: round === 0 ? 'factor' : 'descent',
      }),
    ]);
    const lost = await bench.floats(errors, rows * k);
    const natural = new Float64Array(rows * k);
    for (const [place, column] of order.entries()) {
      for (let row = 0; row < rows; row++) natural[row * k + column] = lost[place * rows + row]!;
    }
    results.push({ errors: natural, matrix: await bench.floats(matrix, k * k) });
  }
  return results;
}

/** Σ e H eᵀ */
function cost({ hessian, rows, k }: Problem, errors: ArrayLike<number>): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) sum += errors[row * k + i]! * hessian[i * k + j]! * errors[row * k + j]!;
    }
  }
  return sum;
}

test.each([
  [1, 1],
  [5, 7],
  [70, 48],
  [13, 97],
  [3, 128],
])('%i rows of %i columns: each weight is what the errors before it ask for, or zero', async (rows, k) => {
  const p = problem(rows, k, generator(rows + 1000 * k));
  let before: Float64Array = new Float64Array(rows * k);
  for (const [round, { errors, matrix }] of (await refit(p, 2)).entries()) {
    let worst = 0;
    for (let row = 0; row < rows; row++) {
      const now = before.slice(row * k, (row + 1) * k);
      for (let i = k - 1; i >= 0; i--) {
        const column = p.order[i]!;
        const at = row * k + column;
        if (!p.kept(row, column)) expect(errors[at]).toBe(p.weights[at]);
        else {
          let [asked, size] = [0, 0];
          // Errors of columns that are not yet taken are zero in the first pass.
          for (let r = 0; r < k; r++) {
            if (r === i) continue;
            const term = (now[p.order[r]!]! * matrix[r * k + i]!) / matrix[i * k + i]!;
            asked += term;
            size += Math.abs(term);
          }
          // Sums of k products in f32, in any order.
          const allowed = 2 ** -23 * (k + 8) * (size + Math.abs(now[column]!)) + Number.MIN_VALUE;
          worst = Math.max(worst, Math.abs(errors[at]! + asked) / allowed);
        }
        now[column] = errors[at]!;
      }
    }
    expect(worst, `round ${round}`).toBeLessThanOrEqual(1);
    before = errors;
  }
  bench.release();
});

test('costs fall with every pass, towards the least squares under the mask', async () => {
  const p = problem(9, 64, generator(5));
  const zeroed = p.weights.map((w, at) => (p.kept(Math.floor(at / p.k), at % p.k) ? 0 : w));
  const results = await refit(p, 200);
  const costs = [zeroed, ...results.map(({ errors }) => errors)].map((errors) => cost(p, errors));
  expect(costs[1]).toBeLessThan(0.7 * costs[0]!);
  for (let i = 2; i < costs.length; i++) expect(costs[i]).toBeLessThanOrEqual(costs[i - 1]! * (1 + 1e-5));
  // At the minimum the gradient e H is zero in the columns that stay.
  const last = results.at(-1)!.errors;
  for (let row = 0; row < p.rows; row++) {
    for (let j = 0; j < p.k; j++) {
      if (!p.kept(row, j)) continue;
      let [gradient, size] = [0, 0];
      for (let i = 0; i < p.k; i++) {
        const term = last[row * p.k + i]! * p.hessian[i * p.k + j]!;
        gradient += term;
        size += Math.abs(term);
      }
      expect(Math.abs(gradient)).toBeLessThan(1e-4 * size);
    }
  }
  bench.release();
});

test.each([1, 31, 64, 97])('%i factors are the roots of the inverse’s diagonal', async (n) => {
  const p = problem(1, n, generator(n));
  const [matrix, order] = [bench.room(n * n), bench.upload(p.order)];
  const scratch = bench.room(CHOLESKY_BLOCK * n);
  const factors = bench.room(n);
  await bench.gpu.scheduler.run([
    permuteSymmetricStep({ matrix: bench.upload(p.hessian), order, out: matrix, n, damping: 0 }),
    ...choleskySteps({ matrix, n, scratch, failed: bench.upload(Uint32Array.of(0)) }),
    ...inverseRootsSteps({ factor: matrix, order, factors, inverse: bench.room(n * n), scratch, n }),
  ]);
  const wanted = inverseDiagonal(p.hessian, n).map((value) => 1 / Math.sqrt(value));
  const actual = await bench.floats(factors, n);
  // The condition number of these matrices stays below 1e4: f32 leaves four digits at least.
  for (let i = 0; i < n; i++) expect(Math.abs(actual[i]! - wanted[i]!) / wanted[i]!).toBeLessThan(1e-3);
  bench.release();
});

/** By elimination in f64, without pivots: the matrix is positive definite. */
function inverseDiagonal(m: Float32Array, n: number): number[] {
  const rows = Array.from({ length: n }, (_, i) => [
    ...m.subarray(i * n, (i + 1) * n),
    ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)),
  ]);
  for (let i = 0; i < n; i++) {
    const pivot = rows[i]![i]!;
    rows[i] = rows[i]!.map((value) => value / pivot);
    for (let r = 0; r < n; r++) {
      const factor = rows[r]![i]!;
      if (r !== i) rows[r] = rows[r]!.map((value, c) => value - factor * rows[i]![c]!);
    }
  }
  return rows.map((row, i) => row[n + i]!);
}
