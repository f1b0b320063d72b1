import { readFileSync } from 'node:fs';
import { allocateWeight, formatByName, type Gpu } from 'compressa';
import { qr, randomizedSvd, type Svd, svd } from 'compressa/low-rank';
import type { Claim, Measurement } from '../claim.ts';
import { lowRankSuite, modelMatrices, type SuiteMatrix } from '../low-rank-suite.ts';
import { gaussian, random } from '../random.ts';

/** Matrices whose smaller side is above that are factored by rank only. */
const MOST_WHOLE = 256;
/** `COMPRESSA_CASES=0-20` for matrices 0 to 20 of the suite only. */
const [FIRST = 0, LAST = Number.POSITIVE_INFINITY] = process.env.COMPRESSA_CASES?.split('-').map(Number) ?? [];
const SOME = process.env.COMPRESSA_CASES !== undefined;
const CONDITIONS = [1e4, 1e6, 1e8, 1e10, 1e12];

/** Distances as shares of what is allowed, and where they were largest. */
class Worst {
  readonly #most: number;
  value = 0;
  where = 'nowhere';
  count = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(value: number, where: string): void {
    this.count++;
    if (value <= this.value) return;
    this.value = Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
    this.where = where;
  }

  measurement(claim: string, threshold: string): Measurement {
    const measured = `${this.value.toPrecision(3)} at most (${this.where}), of ${this.count}`;
    return { claim, threshold, measured, pass: (this.count > 0 || SOME) && this.value <= this.#most };
  }
}

/**
 * Randomized and whole singular value decompositions against LAPACK's singular values in f64 (bench/low-rank-golden.json; bench/low-rank-golden.ts
 * says how it was made), and orthonormal columns where CholeskyQR alone would lose them.
 */
export const claim: Claim = {
  name: 'low-rank accuracy',
  async measure(gpu) {
    const golden: Record<string, number[]> = JSON.parse(
      readFileSync(new URL('../low-rank-golden.json', import.meta.url), 'utf8'),
    );
    const worst = {
      decaying: new Worst(1.01),
      flat: new Worst(1.05),
      other: new Worst(3e-5),
      orthonormal: new Worst(2e-5),
      values: new Worst(1e-5),
      whole: new Worst(3e-5),
    };
    let [count, same] = [0, true];
    for (const matrix of [...lowRankSuite(), ...(await modelMatrices())].slice(FIRST, LAST + 1)) {
      const { name, rows, columns, rank } = matrix;
      const exact = golden[name]!;
      const norm = Math.hypot(...exact);
      const found = await factor(gpu, matrix, (weight) => randomizedSvd(gpu, weight, { rank }));
      const least = Math.hypot(0, ...exact.slice(rank));
      // Of a sketch of all columns, nothing is left to chance.
      const next = exact[Math.min(found.sketch, exact.length - 1)]!;
      const decays = found.sketch >= exact.length || next <= exact[rank - 1]! / 2;
      if (least > 1e-4 * norm) worst[decays ? 'decaying' : 'flat'].add(found.error / least, name);
      else worst.other.add(norm === 0 ? found.error : (found.error - least) / norm, name);
      worst.orthonormal.add(found.deviation, name);
      if (count++ % 8 === 0) {
        const again = await factor(gpu, matrix, (weight) => randomizedSvd(gpu, weight, { rank }));
        same &&= equal(found.u, again.u) && equal(found.v, again.v) && equal(found.values, again.values);
      }
      if (Math.min(rows, columns) > MOST_WHOLE) continue;
      const all = await factor(gpu, matrix, (weight) => svd(gpu, weight));
      worst.orthonormal.add(all.deviation, `${name}, whole`);
      worst.whole.add(norm === 0 ? all.error : all.error / norm, name);
      for (const [i, value] of all.values.entries()) {
        worst.values.add(exact[0] === 0 ? Math.abs(value) : Math.abs(value - exact[i]!) / exact[0]!, name);
      }
    }
    return [
      worst.decaying.measurement(
        `${count} matrices: error over the least of the rank, decaying spectra`,
        'at most 1.01',
      ),
      worst.flat.measurement('the same, flat spectra', 'at most 1.05'),
      worst.other.measurement('where the least is below 1e-4 ‖A‖: error above it', 'at most 3e-5 ‖A‖'),
      worst.orthonormal.measurement('largest |UᵀU − I|, |VᵀV − I|', 'at most 2e-5'),
      worst.values.measurement('singular values of the whole decomposition', 'within 1e-5 of the largest'),
      worst.whole.measurement('error of the whole decomposition', 'at most 3e-5 ‖A‖'),
      { claim: 'the same bytes twice', threshold: 'all', measured: same ? 'all' : 'not all', pass: same },
      await fallsBack(gpu),
    ];
  },
};

const equal = (a: Float32Array, b: Float32Array) =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

async function factor(
  gpu: Gpu,
  { rows, columns, values: a }: SuiteMatrix,
  work: (weight: ReturnType<typeof allocateWeight>) => Promise<Svd>,
) {
  const weight = allocateWeight(gpu, formatByName('f32'), rows, columns, 'matrix');
  for (const part of weight.parts) {
    const some = a.subarray(part.rowStart * columns, (part.rowStart + part.rows) * columns);
    gpu.upload(part.arrays[0]!.buffer, new Uint8Array(some.buffer, some.byteOffset, some.byteLength));
  }
  const found = await work(weight);
  const { rank, sketch, singularValues: values } = found;
  const read = async ({ buffer }: { buffer: GPUBuffer }, length: number) =>
    new Float32Array((await gpu.readBack(buffer, 0, 4 * length)).buffer);
  const [u, v] = [await read(found.u, rows * rank), await read(found.v, columns * rank)];
  found.release();
  weight.release();
  let squares = 0;
  // Squares of 1e-30 vanish, of 1e30 overflow nowhere in f64.
  const scale = values[0]! > 0 ? 1 / values[0]! : 1;
  const row = new Float64Array(columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) row[j] = scale * a[i * columns + j]!;
    for (let k = 0; k < rank; k++) {
      const factor = scale * u[i * rank + k]! * values[k]!;
      for (let j = 0; j < columns; j++) row[j]! -= factor * v[j * rank + k]!;
    }
    for (let j = 0; j < columns; j++) squares += row[j]! ** 2;
  }
  const deviation = Math.max(deviationOf(u, rows, rank), deviationOf(v, columns, rank));
  return { u, v, values, sketch, deviation, error: Math.sqrt(squares) / scale };
}

function deviationOf(x: Float32Array, rows: number, columns: number): number {
  const gram = new Float64Array(columns * columns);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      const value = x[row * columns + i]!;
      for (let j = 0; j <= i; j++) gram[i * columns + j]! += value * x[row * columns + j]!;
    }
  }
  let worst = 0;
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j <= i; j++) {
      const error = Math.abs(gram[i * columns + j]! - Number(i === j));
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

/** Mixtures of directions whose sizes fall by equal factors: no column is small by itself. */
async function fallsBack(gpu: Gpu): Promise<Measurement> {
  const next = random(5);
  const [rows, columns] = [600, 48];
  const methods: string[] = [];
  let worst = 0;
  for (const condition of CONDITIONS) {
    const mix = Float64Array.from({ length: columns * columns }, () => gaussian(next));
    const a = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const sums = new Float64Array(columns);
      for (let k = 0; k < columns; k++) {
        const share = condition ** (-k / (columns - 1)) * gaussian(next);
        for (let column = 0; column < columns; column++) sums[column]! += share * mix[k * columns + column]!;
      }
      a.set(sums, row * columns);
    }
    const buffer = gpu.memory.allocate(a.byteLength);
    gpu.upload(buffer, new Uint8Array(a.buffer));
    const made = await qr(gpu, { buffer }, rows, columns);
    const q = new Float32Array((await gpu.readBack(made.q.buffer, 0, a.byteLength)).buffer);
    methods.push(`${condition.toExponential(0)} ${made.method}`);
    worst = Math.max(worst, deviationOf(q, rows, columns));
    made.release();
    gpu.memory.release(buffer);
  }
  return {
    claim: `QR of ${rows} x ${columns} at condition numbers 1e4 to 1e12: largest |QᵀQ − I|`,
    threshold: 'at most 2e-5, Householder where Cholesky breaks down',
    measured: `${worst.toExponential(1)} (${methods.join(', ')})`,
    pass: worst <= 2e-5 && methods.some((method) => method.endsWith('householder')),
  };
}
