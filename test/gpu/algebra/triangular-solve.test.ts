import { expect, test } from 'vitest';
import { CHOLESKY_BLOCK, choleskySteps } from '../../../src/kernels/cholesky.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { choleskySolveSteps, triangularInverseSteps } from '../../../src/kernels/triangular-solve.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

test('systems of 40 shapes are solved to the backward error of substitution', async () => {
  const next = generator(41);
  let worst = 0;
  for (let round = 0; round < 40; round++) {
    const n = 1 + Math.floor(next() * (round % 8 === 0 ? 300 : 90));
    const columns = 1 + Math.floor(next() * (round % 5 === 0 ? 200 : 70));
    const x = filled(2 * n * n, (i) => (1 + 4 * ((i % n) % 3)) * gaussian(next));
    const sums = transposedProduct(x, x, n, n);
    const m = filled(n * n, (i) => sums[i]! / (2 * n) + (i % (n + 1) === 0 ? 0.1 : 0));
    const b = filled(n * columns, () => gaussian(next));
    const [matrix, z] = [bench.upload(m), bench.upload(b)];
    const failed = bench.upload(new Uint32Array(1));
    await bench.gpu.scheduler.run([
      ...choleskySteps({ matrix, n, scratch: bench.room(CHOLESKY_BLOCK * n), failed }),
      ...choleskySolveSteps({ factor: matrix, n, z, columns, scratch: bench.room(CHOLESKY_BLOCK * columns) }),
    ]);
    const factor = await bench.floats(matrix, n * n);
    const solution = await bench.floats(z, n * columns);
    expect(solution.every(Number.isFinite)).toBe(true);
    for (let c = 0; c < columns; c++) {
      // |B − UᵀU Z| ≤ (3n + 1) u |Uᵀ| |U| |Z| (Higham 2002, theorem 10.4); n u from each substitution, and blocks do better.
      const inner = new Float64Array(n);
      const size = new Float64Array(n);
      for (let i = 0; i < n; i++) {
        for (let j = i; j < n; j++) {
          const product = factor[i * n + j]! * solution[j * columns + c]!;
          inner[i]! += product;
          size[i]! += Math.abs(product);
        }
      }
      for (let i = 0; i < n; i++) {
        let [made, bound] = [0, 0];
        for (let j = 0; j <= i; j++) {
          made += factor[j * n + i]! * inner[j]!;
          bound += Math.abs(factor[j * n + i]!) * size[j]!;
        }
        worst = Math.max(worst, Math.abs(made - b[i * columns + c]!) / (bound * (3 * n + 1) * 2 ** -24));
      }
    }
    bench.release();
  }
  expect(worst).toBeGreaterThan(0);
  expect(worst).toBeLessThan(1);
});

test('inverses of 30 triangles have the residual of back substitution, and nothing below the diagonal', async () => {
  const next = generator(43);
  let worst = 0;
  for (let round = 0; round < 30; round++) {
    const n = 1 + Math.floor(next() * (round % 6 === 0 ? 300 : 80));
    // Mirrored, as a factorization leaves it.
    const upper = new Float32Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let j = i; j < n; j++) {
        upper[i * n + j] = i === j ? 0.5 + next() : (gaussian(next) * 2) / n;
        upper[j * n + i] = upper[i * n + j]!;
      }
    }
    const [factor, inverse] = [bench.upload(upper), bench.room(n * n)];
    await bench.gpu.scheduler.run(
      triangularInverseSteps({ factor, n, inverse, scratch: bench.room(CHOLESKY_BLOCK * n) }),
    );
    const x = await bench.floats(inverse, n * n);
    bench.release();
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        if (i > j) expect(x[i * n + j]).toBe(0);
        // |U X − I| ≤ (n + 2) u |U| |X| (Higham 2002, section 14.2.1), with room for the order of sums in blocks.
        let [made, bound] = [0, 0];
        for (let k = i; k < n; k++) {
          made += upper[i * n + k]! * x[k * n + j]!;
          bound += Math.abs(upper[i * n + k]! * x[k * n + j]!);
        }
        if (bound > 0) worst = Math.max(worst, Math.abs(made - (i === j ? 1 : 0)) / (bound * (2 * n + 2) * 2 ** -24));
      }
    }
  }
  expect(worst).toBeGreaterThan(0);
  expect(worst).toBeLessThan(1);
});
