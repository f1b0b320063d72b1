import { expect, test } from 'vitest';
import type { Grid } from '../../../src/formats/format.ts';
import { type SparseLayout, sparseLayout } from '../../../src/formats/packed-layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { choleskySteps } from '../../../src/kernels/cholesky.ts';
import {
  type ChooseCodesArguments,
  CODES_BLOCK,
  chooseCodesSteps,
  levelTable,
} from '../../../src/kernels/choose-codes.ts';
import { markColumnsStep, slotCodesStep } from '../../../src/kernels/mark-columns.ts';
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
  /** Which weights stay; undefined: all. */
  readonly mask: Uint32Array | undefined;
  /** Where those that stay are packed. */
  readonly packing: SparseLayout | undefined;
}

const bitOf = (mask: Uint32Array, k: number, row: number, column: number): number =>
  (mask[row * Math.ceil(k / 32) + (column >> 5)]! >>> (column & 31)) & 1;

/** Two of every five columns, of the last group fewer. */
function twoOfFive(rows: number, k: number, next: () => number): Uint32Array {
  const words = Math.ceil(k / 32);
  const mask = new Uint32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    for (let first = 0; first < k; first += 5) {
      for (let left = first % 15 === 10 ? 1 : 2; left > 0; left--) {
        const column = first + Math.floor(next() * Math.min(5, k - first));
        mask[row * words + (column >> 5)]! |= 1 << (column & 31);
      }
    }
  }
  return mask;
}

function problem(rows: number, k: number, grid: Grid, next: () => number, masked?: 'stored' | 'packed'): Problem {
  const pattern = { kind: 'n:m', keep: 2, of: 5 } as const;
  const format = formatByName('q8_0');
  const packing = masked === 'packed' ? sparseLayout(pattern, { ...format, block: grid.group }, rows, k) : undefined;
  const tokens = 2 * k;
  const shared = filled(tokens, () => gaussian(next));
  const x = filled(tokens * k, (i) => (1 + 3 * ((i % k) % 3)) * (gaussian(next) + shared[Math.floor(i / k)]!));
  const sums = transposedProduct(x, x, k, k);
  const largest = Math.max(...grid.levels.map(Math.abs));
  // A scale of zero, a negative one.
  const scales = filled((2 * rows * (packing?.slots ?? k)) / grid.group, (i) =>
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
    ...{ rows, k, grid, scales, order, packing },
    mask: masked && twoOfFive(rows, k, next),
    weights: filled(rows * k, () => gaussian(next)),
    hessian: filled(k * k, (i) => sums[i]! / tokens + (i % (k + 1) === 0 ? 0.5 : 0)),
  };
}

/** Runs a GPTQ pass and rounds of coordinate descent; errors and codes in the order of the matrix after each. */
async function choose(p: Problem, descents: number) {
  const { rows, k, grid, weights, scales, hessian, order, packing } = p;
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
  const width = packing?.slots ?? k;
  const codes = bench.room(Math.ceil((rows * width) / 4));
  const mask = p.mask && bench.upload(p.mask);
  const marked = mask && { packing };
  const placed = bench.upload(place);
  const shared: Omit<ChooseCodesArguments, 'pass'> = {
    ...{ matrix, weights: w, scales: bench.upload(scales), gridRows: rows, grid, order: permuted },
    ...{ table: bench.upload(levelTable(grid)), errors, chosen, scratch: bench.room(CODES_BLOCK * rows), rows, k },
    ...(marked && { marked }),
  };
  if (marked)
    await gpu.scheduler.run([markColumnsStep({ marked, mask: mask!, grid, order: permuted, chosen, rows, k })]);
  const [table, levels] = [shared.scales, bench.upload(Float32Array.from(grid.levels))];
  const laidOut =
    packing && mask
      ? slotCodesStep({ packing, grid, chosen, place: placed, mask, scales: table, levels, codes, rows, k })
      : scatterCodesStep({ chosen, place: placed, codes, rows, k });
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
      laidOut,
    ]);
    const lost = await bench.floats(errors, rows * k);
    const words = await bench.words(codes, Math.ceil((rows * width) / 4));
    results.push({
      errors: Float64Array.from({ length: rows * k }, (_, i) => lost[place[i % k]! * rows + Math.floor(i / k)]!),
      codes: new Uint8Array(words.buffer).slice(0, rows * width),
      matrix: await bench.floats(matrix, k * k),
    });
  }
  return results;
}

/** Where a weight's code lies in its row. */
function slotOf({ packing, mask, k }: Problem, row: number, column: number): number {
  if (!packing || !mask) return column;
  const { keep, of } = packing;
  const first = Math.floor(column / of) * of;
  const before = range(column - first, first).filter((other) => bitOf(mask, k, row, other) === 1).length;
  return Math.floor(column / of) * keep + before;
}

const storedValue = ({ grid, scales, packing, k }: Problem, row: number, slot: number, code: number): number => {
  const at = 2 * (row * ((packing?.slots ?? k) / grid.group) + Math.floor(slot / grid.group));
  return scales[at]! * grid.levels[code]! + scales[at + 1]!;
};

const levelOf = (p: Problem, row: number, column: number, code: number): number =>
  storedValue(p, row, slotOf(p, row, column), code);

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

/** Slots that no weight fills: row and slot. */
function emptySlots(p: Problem): [number, number][] {
  if (!p.packing) return [];
  const filled = new Set<number>();
  for (let row = 0; row < p.rows; row++) {
    for (let column = 0; column < p.k; column++) {
      if (bitOf(p.mask!, p.k, row, column) === 1) filled.add(row * p.packing.slots + slotOf(p, row, column));
    }
  }
  return range(p.rows * p.packing.slots)
    .filter((at) => !filled.has(at))
    .map((at) => [Math.floor(at / p.packing!.slots), at % p.packing!.slots]);
}

function roundedErrors(p: Problem): Float64Array {
  return Float64Array.from(p.weights, (w, at) => {
    const losses = p.grid.levels.map((_, code) => w - levelOf(p, Math.floor(at / p.k), at % p.k, code));
    return losses.reduce((best, loss) => (Math.abs(loss) < Math.abs(best) ? loss : best));
  });
}

test.each([
  ...Object.keys(GRIDS).map((name) => [name, 'all'] as const),
  ...['two bits, signed', 'a table'].flatMap((name) => [[name, 'stored'] as const, [name, 'packed'] as const]),
])('%s, %s: each code is the nearest to what the errors before it ask for, or to 0', async (name, kept) => {
  const next = generator(name.length);
  const grid = GRIDS[name]!;
  for (const [rows, k] of [
    [1, grid.group],
    [5, 2 * grid.group],
    [70, 48],
    [13, 128],
  ] as const) {
    const p = problem(rows, k, grid, next, kept === 'all' ? undefined : kept);
    const slots = p.packing?.slots ?? k;
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
          const stays = !p.mask || bitOf(p.mask, k, row, column) === 1;
          if (!stays && p.packing) {
            expect(errors[at]).toBe(p.weights[at]);
            now[column] = errors[at]!;
            continue;
          }
          const wanted = stays ? p.weights[at]! + asked : 0;
          const code = codes[row * slots + slotOf(p, row, column)]!;
          const distance = (code: number) => Math.abs(levelOf(p, row, column, code) - wanted);
          const nearest = Math.min(...grid.levels.map((_, code) => distance(code)));
          // Sums of k products in f32, in any order.
          const allowed = stays
            ? 2 ** -23 * (k + 8) * (size + Math.abs(wanted) + Math.abs(now[column]!))
            : // Of a quotient of numbers near 1.
              2 ** -21;
          worst = Math.max(worst, (distance(code) - nearest) / allowed);
          const lost = p.weights[at]! - levelOf(p, row, column, code);
          worst = Math.max(
            worst,
            Math.abs(errors[at]! - lost) / (2 ** -22 * (Math.abs(lost) + Math.abs(p.weights[at]!) + 1)),
          );
          now[column] = errors[at]!;
        }
      }
      expect(worst, `${rows}x${k}, round ${round}`).toBeLessThanOrEqual(1);
      for (const [row, slot] of emptySlots(p)) {
        const size = (code: number) => Math.abs(storedValue(p, row, slot, code));
        const least = Math.min(...grid.levels.map((_, code) => size(code)));
        expect(size(codes[row * slots + slot]!)).toBeLessThanOrEqual(least + 2 ** -22);
      }
      before = result;
    }
    if (p.mask) {
      const costs = results.map(({ errors }) => cost(p, errors));
      for (const i of [1, 2]) expect(costs[i]).toBeLessThanOrEqual(costs[i - 1]! * (1 + 1e-5));
      bench.release();
      continue;
    }
    const costs = [roundedErrors(p), ...results.map((result) => result.errors)].map((errors) => cost(p, errors));
    // Columns depend on each other: what one loses, others make good. Coordinate descent never adds to it.
    if (k >= 48) expect(costs[1]).toBeLessThan(costs[0]!);
    for (const i of [2, 3]) expect(costs[i]).toBeLessThanOrEqual(costs[i - 1]! * (1 + 1e-5));
    bench.release();
  }
});
