import { expect, test } from 'vitest';
import { CHOLESKY_BLOCK, choleskySteps } from '../../../src/kernels/cholesky.ts';
import { cholesky } from '../../../src/kernels/reference/cholesky.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

async function factor(matrix: Float32Array, n: number, least = 0) {
  const view = bench.upload(matrix);
  const failed = bench.upload(Uint32Array.of(0));
  await bench.gpu.scheduler.run(
    choleskySteps({ matrix: view, n, scratch: bench.room(CHOLESKY_BLOCK * n), failed, least }),
  );
  return { u: await bench.floats(view, n * n), failed: (await bench.words(failed, 1))[0]! };
}

/** XᵀX / T of random inputs, some columns large, plus damping. */
function hessian(n: number, tokens: number, damping: number, next: () => number): Float32Array {
  const sizes = filled(n, () => 10 ** (2 * next() - 1));
  const x = filled(tokens * n, (i) => sizes[i % n]! * gaussian(next));
  const h = transposedProduct(x, x, n, n).map((sum) => sum / tokens);
  const mean = h.reduce((sum, value, i) => sum + (i % (n + 1) === 0 ? value : 0), 0) / n;
  return filled(n * n, (i) => h[i]! + (i % (n + 1) === 0 ? damping * mean : 0));
}

test('UᵀU gives the matrix back, to the backward error of Cholesky', async () => {
  const next = generator(21);
  const sizes = [1, 2, 3, 7, 31, 32, 33, 64, 65, 100, 127, 160, 257];
  for (const n of sizes) {
    for (const tokens of [n * 4, Math.ceil(n / 2)]) {
      const matrix = hessian(n, tokens, 0.01, next);
      const { u, failed } = await factor(matrix, n);
      expect(failed, `${n}`).toBe(0);
      const upper = u.map((value, i) => (Math.floor(i / n) <= i % n ? value : 0));
      const back = transposedProduct(upper, upper, n, n);
      let worst = 0;
      let mirrored = true;
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          // Higham, Accuracy and Stability, theorem 10.3: |UᵀU − M| ≤ γ(n + 1) |Uᵀ||U| ≤ γ √(m_ii m_jj); divisions and roots take 2.5 units.
          const allowed = 2 ** -24 * (n + 8) * Math.sqrt(matrix[i * n + i]! * matrix[j * n + j]!);
          const error = Math.abs(back[i * n + j]! - matrix[i * n + j]!) / allowed;
          if (!(error <= worst)) worst = error;
          mirrored &&= u[i * n + j] === u[j * n + i];
        }
      }
      expect(worst, `${n} columns, ${tokens} tokens`).toBeLessThanOrEqual(1);
      expect(mirrored).toBe(true);
    }
    bench.release();
  }
});

test('well conditioned factors equal the f64 reference', async () => {
  const next = generator(22);
  for (const n of [5, 40, 96]) {
    const matrix = hessian(n, 8 * n, 0.5, next);
    const wanted = cholesky(matrix, n)!;
    const { u } = await factor(matrix, n);
    const share = (at: number) => Math.abs(u[at]! - wanted[at]!) / Math.sqrt(matrix[(at % n) * (n + 1)]!);
    const shares = Array.from(wanted, (_, at) => (Math.floor(at / n) <= at % n ? share(at) : 0));
    expect(Math.max(...shares)).toBeLessThan(1e-4);
    bench.release();
  }
});

test('a matrix that is not positive definite is reported with its column', async () => {
  const next = generator(23);
  for (const [n, bad] of [
    [1, 0],
    [40, 0],
    [40, 33],
    [100, 99],
  ] as const) {
    for (const value of [-1, 0, Number.NaN]) {
      const matrix = hessian(n, 4 * n, 0.01, next);
      matrix[bad * n + bad] = value;
      expect(cholesky(matrix, n)).toBeUndefined();
      expect((await factor(matrix, n)).failed, `${n}, ${bad}, ${value}`).toBe(bad + 1);
    }
  }
  // A pivot below the bound that damping gives is rounding.
  const matrix = hessian(8, 64, 0, next);
  expect((await factor(matrix, 8, 1e6)).failed).toBe(1);
  bench.release();
});
