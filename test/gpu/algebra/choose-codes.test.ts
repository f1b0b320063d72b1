import { expect, test } from 'vitest';
import type { Grid } from '../../../src/formats/format.ts';
import { choleskySteps } from '../../../src/kernels/cholesky.ts';
import {
  type ChooseCodesArguments,
  CODES_BLOCK,
  chooseCodesSteps,
  levelTable,
} from '../../../src/kernels/choose-codes.ts';
import { gatherColumnsStep, permuteSymmetricStep, scatterCodesStep } from '../../../src/kernels/permute.ts';
import { transposedProduct } from '../../../src/kernels/reference/transposed-product.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
const GRIDS: Record<string, Grid> = {
  'four bits': { group: 8, levels: range(16) },
  'two bits, signed': { group: 16, levels: range(4, -2) },
  // As int8 lies in bytes: not in order.
  'bytes, signed': { group: 4, levels: range(256).map((code) => (code < 128 ? code : code - 256)) },
  'a table': { group: 8, levels: [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6] },
};

interface Problem {
  readonly rows: number;
  readonly k: number;
  readonly grid: Grid;
  readonly weights: Float32Array;
  readonly scales: Float32Array;
  readonly hessian: Float32Array;
  readonly order: Uint32Array;
}

function problem(rows: number, k: number, grid: Grid, next: () => number): Problem {
  const tokens = 2 * k;
  const shared = filled(tokens, () => gaussian(next));
  const x = filled(tokens * k, (i) => (1 + 3 * ((i % k) % 3)) * (gaussian(next) + shared[Math.floor(i / k)]!));
  const sums = transposedProduct(x, x, k, k);
  const largest = Math.max(...grid.levels.map(Math.abs));
  // A scale of zero, a negative one.
  const scales = filled((2 * rows * k) / grid.group, (i) =>
    i % 2 === 0
      ? i === 6
        ? 0
        : ((i === 8 ? -1 : 1) * (1 + next())) / largest
      : 0.1 * gaussian(next) - (grid.levels[0] === 0 ? 1 : 0),
  );
  const order = Uint32Array.from(range(k));
  for (let i = k - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return {
    ...{ rows, k, grid, scales, order },
    weights: filled(rows * k, () => gaussian(next)),
    hessian: filled(k * k, (i) => sums[i]! / tokens + (i % (k + 1) === 0 ? 0.5 : 0)),
  };
}

/** Runs a GPTQ pass and rounds of coordinate descent; errors and codes in the order of the matrix after each. */
async function choose({ rows, k, grid, weights, scales, hessian, order }: Problem, descents: number) {
  const { gpu } = bench;
  const [matrix, w] = [bench.room(k * k), bench.room(rows * k)];
  const h = bench.upload(hessian);
  const permuted = bench.upload(order);
  const errors = bench.upload(new Float32Array(rows * k));
  const chosen = bench.room(rows * k);
  const place = Uint32Array.from(order);
  order.forEach((column, i) => {
    place[column] = i;
  });
  const codes = bench.room(Math.ceil((rows * k) / 4));
  const shared: Omit<ChooseCodesArguments, 'pass'> = {
    ...{ matrix, weights: w, scales: bench.upload(scales), gridRows: rows, grid, order: permuted },
    ...{ table: bench.upload(levelTable(grid)), errors, chosen, scratch: bench.room(CODES_BLOCK * rows), rows, k },
  };
  const results: { errors: Float64Array; codes: Uint8Array; matrix: Float32Array }[] = [];
  for (let round = 0; round <= descents; round++) {
    const permute = permuteSymmetricStep({ matrix: h, order: permuted, out: matrix, n: k, damping: 0 });
    const scratch = bench.room(CODES_BLOCK * k);
    const failed = bench.upload(Uint32Array.of(0));
    const factor = round === 0 ? choleskySteps({ matrix, n: k, scratch, failed }) : [];
    await gpu.scheduler.run([
      permute,
      ...factor,
      gatherColumnsStep({ weights: bench.upload(weights), order: permuted, out: w, rows, k }),
      ...chooseCodesSteps({ ...shared, pass: round === 0 ? 'factor' : 'descent' }),
      scatterCodesStep({ chosen, place: bench.upload(place), codes, rows, k }),
    ]);
    const lost = await bench.floats(errors, rows * k);
    const words = await bench.words(codes, Math.ceil((rows * k) / 4));
    results.push({
      errors: Float64Array.from({ length: rows * k }, (_, i) => lost[place[i % k]! * rows + Math.floor(i / k)]!),
      codes: new Uint8Array(words.buffer).slice(0, rows * k),
      matrix: await bench.floats(matrix, k * k),
    });
  }
  return results;
}

const levelOf = ({ grid, scales, k }: Problem, row: number, column: number, code: number): number => {
  const at = 2 * (row * (k / grid.group) + Math.floor(column / grid.group));
  return scales[at]! * grid.levels[code]! + scales[at + 1]!;
};

/** What the errors [rows, k] cost: Σ e H eᵀ. */
function cost({ hessian, rows, k }: Problem, errors: ArrayLike<number>): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) sum += errors[row * k + i]! * hessian[i * k + j]! * errors[row * k + j]!;
    }
  }
  return sum;
}

function roundedErrors(p: Problem): Float64Array {
  return Float64Array.from(p.weights, (w, at) => {
    const losses = p.grid.levels.map((_, code) => w - levelOf(p, Math.floor(at / p.k), at % p.k, code));
    return losses.reduce((best, loss) => (Math.abs(loss) < Math.abs(best) ? loss : best));
  });
}

test.each(Object.keys(GRIDS))('%s: each code is the nearest to what the errors before it ask for', async (name) => {
  const next = generator(name.length);
  const grid = GRIDS[name]!;
  for (const [rows, k] of [
    [1, grid.group],
    [5, 2 * grid.group],
    [70, 48],
    [13, 128],
  ] as const) {
    const p = problem(rows, k, grid, next);
    const results = await choose(p, 2);
    let before = results[0]!;
    for (const [round, result] of results.entries()) {
      const { errors, codes, matrix } = result;
      let worst = 0;
      for (let row = 0; row < rows; row++) {
        const now = round === 0 ? new Float64Array(k) : before.errors.slice(row * k, (row + 1) * k);
        for (let i = k - 1; i >= 0; i--) {
          const column = p.order[i]!;
          const at = row * k + column;
          let [asked, size] = [0, 0];
          for (let r = 0; r < k; r++) {
            if (r === i) continue;
            const term = (now[p.order[r]!]! * matrix[r * k + i]!) / matrix[i * k + i]!;
            asked += term;
            size += Math.abs(term);
          }
          const wanted = p.weights[at]! + asked;
          const distance = (code: number) => Math.abs(levelOf(p, row, column, code) - wanted);
          const nearest = Math.min(...grid.levels.map((_, code) => distance(code)));
          // Sums of k products in f32, in any order.
          const allowed = 2 ** -23 * (k + 8) * (size + Math.abs(wanted) + Math.abs(now[column]!));
          worst = Math.max(worst, (distance(codes[at]!) - nearest) / allowed);
          const lost = p.weights[at]! - levelOf(p, row, column, codes[at]!);
          worst = Math.max(
            worst,
            Math.abs(errors[at]! - lost) / (2 ** -22 * (Math.abs(lost) + Math.abs(p.weights[at]!) + 1)),
          );
          now[column] = errors[at]!;
        }
      }
      expect(worst, `${rows}x${k}, round ${round}`).toBeLessThanOrEqual(1);
      before = result;
    }
    const costs = [roundedErrors(p), ...results.map((result) => result.errors)].map((errors) => cost(p, errors));
    // Columns depend on each other: what one loses, others make good. Coordinate descent never adds to it.
    if (k >= 48) expect(costs[1]).toBeLessThan(costs[0]!);
    for (const i of [2, 3]) expect(costs[i]).toBeLessThanOrEqual(costs[i - 1]! * (1 + 1e-5));
    bench.release();
  }
});
