import { dequantizedWeights, graphOf, nodeFolder, openCheckpoint } from 'compressa';
import { SAMPLE_MODEL } from './claim.ts';
import { gaussian, random } from './random.ts';

/** A matrix of the suite, row-major, with the rank to be kept of it. */
export interface SuiteMatrix {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  readonly values: Float32Array;
}

const SHAPES = [
  [200, 120],
  [120, 200],
  [96, 96],
] as const;

/** Orthonormal columns [rows, columns] by Gram and Schmidt, twice. */
function orthonormal(rows: number, columns: number, next: () => number): Float64Array[] {
  const made: Float64Array[] = [];
  for (let j = 0; j < columns; j++) {
    const column = Float64Array.from({ length: rows }, () => gaussian(next));
    for (let round = 0; round < 2; round++) {
      for (const before of made) {
        const share = column.reduce((sum, value, i) => sum + value * before[i]!, 0);
        for (let i = 0; i < rows; i++) column[i]! -= share * before[i]!;
      }
    }
    const norm = Math.hypot(...column);
    made.push(column.map((value) => value / norm));
  }
  return made;
}

function withSpectrum(rows: number, columns: number, spectrum: readonly number[], seed: number): Float32Array {
  const next = random(seed);
  const [u, v] = [orthonormal(rows, spectrum.length, next), orthonormal(columns, spectrum.length, next)];
  const sums = new Float64Array(rows * columns);
  for (const [k, value] of spectrum.entries()) {
    for (let i = 0; i < rows; i++) {
      const factor = value * u[k]![i]!;
      for (let j = 0; j < columns; j++) sums[i * columns + j]! += factor * v[k]![j]!;
    }
  }
  return Float32Array.from(sums);
}

const list = <T>(length: number, value: (i: number) => T): T[] => Array.from({ length }, (_, i) => value(i));

const SPECTRA: Record<string, (i: number, side: number) => number> = {
  '1/i': (i) => 1 / (i + 1),
  '1/i²': (i) => 1 / (i + 1) ** 2,
  'exponential to 1e-2': (i, side) => 1e-2 ** (i / (side - 1)),
  'exponential to 1e-6': (i, side) => 1e-6 ** (i / (side - 1)),
  'exponential to 1e-12': (i, side) => 1e-12 ** (i / (side - 1)),
  'a step to 1e-2': (i) => (i < 10 ? 1 : 1e-2),
  'three clusters': (i) => (i < 5 ? 1 + 1e-4 * i : i < 10 ? 0.1 + 1e-5 * i : 1e-3),
  'rank 6': (i) => (i < 6 ? 1 / (i + 1) : 0),
  'rank 8 and noise 1e-2': (i) => (i < 8 ? 1 : 1e-2),
  'rank 8 and noise 1e-5': (i) => (i < 8 ? 1 : 1e-5),
};

/** Elements by place, of a shape. */
const ELEMENTS: Record<string, readonly [number, number, (i: number, j: number, next: () => number) => number]> = {
  zero: [50, 40, () => 0],
  'one huge entry': [50, 40, (i, j) => (i === 31 && j === 17 ? 1e18 : 0)],
  'one huge entry among small ones': [60, 70, (i, j, next) => (i === 5 && j === 60 ? 1e6 : gaussian(next))],
  'Hilbert 40': [40, 40, (i, j) => 1 / (i + j + 1)],
  'Hilbert 80x60': [80, 60, (i, j) => 1 / (i + j + 1)],
  Cauchy: [60, 90, (i, j) => 1 / (1 + i + 2 * j)],
  'Kahan 60': [60, 60, (i, j) => Math.sin(1.2) ** i * (i === j ? 1 : j > i ? -Math.cos(1.2) : 0)],
  'Kahan 90': [90, 90, (i, j) => Math.sin(1.1) ** i * (i === j ? 1 : j > i ? -Math.cos(1.1) : 0)],
  Vandermonde: [80, 24, (i, j) => (i / 80) ** j],
  'columns graded by 1e-10': [80, 60, (_, j, next) => 1e-10 ** (j / 59) * gaussian(next)],
  'rows graded by 1e-10': [80, 60, (i, _, next) => 1e-10 ** (i / 79) * gaussian(next)],
  'graded both ways': [70, 70, (i, j, next) => 1e-10 ** ((i + j) / 138) * gaussian(next)],
  identity: [48, 48, (i, j) => Number(i === j)],
  ones: [64, 30, () => 1],
  'a permutation': [37, 37, (i, j) => Number(j === (i * 5) % 37)],
  Gaussian: [150, 100, (_i, _j, next) => gaussian(next)],
  'Gaussian, wide': [90, 210, (_i, _j, next) => gaussian(next)],
  uniform: [100, 100, (_i, _j, next) => next()],
  signs: [128, 64, (_i, _j, next) => (next() < 0.5 ? -1 : 1)],
  sparse: [150, 150, (_i, _j, next) => (next() < 0.02 ? gaussian(next) : 0)],
  'sparse, 100x100': [100, 100, (_i, _j, next) => (next() < 0.02 ? gaussian(next) : 0)],
  'sparse, 120x100': [120, 100, (_i, _j, next) => (next() < 0.02 ? gaussian(next) : 0)],
  Laplacian: [100, 100, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0)],
  'triangle of ones': [70, 70, (i, j) => Number(j >= i)],
  'a row': [1, 77, (_i, _j, next) => gaussian(next)],
  'a column': [77, 1, (_i, _j, next) => gaussian(next)],
  'one element': [1, 1, () => -3],
  'two by three': [2, 3, (i, j) => i + j],
  'equal rows': [40, 60, (_, j) => Math.sin(j)],
};

/** Low rank and noise, of sizes for which orthonormal columns would take long. */
function large(rows: number, columns: number, rank: number, noise: number, seed: number): Float32Array {
  const next = random(seed);
  const [left, right] = [rows, columns].map((length) => list(rank, () => list(length, () => gaussian(next))));
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = noise * gaussian(next);
      for (let k = 0; k < rank; k++) sum += left![k]![i]! * right![k]![j]! * 0.8 ** k;
      values[i * columns + j] = sum;
    }
  }
  return values;
}

/** The suite without matrices of models: made when they are asked for, the same every time. */
export function* lowRankSuite(): Generator<SuiteMatrix> {
  let seed = 100;
  for (const [name, value] of Object.entries(SPECTRA)) {
    for (const [rows, columns] of SHAPES) {
      const side = Math.min(rows, columns);
      const values = withSpectrum(
        rows,
        columns,
        list(side, (i) => value(i, side)),
        seed++,
      );
      yield { name: `${name}, ${rows}x${columns}`, rows, columns, rank: 10, values };
    }
  }
  for (const [name, [rows, columns, element]] of Object.entries(ELEMENTS)) {
    const next = random(seed++);
    const values = Float32Array.from({ length: rows * columns }, (_, at) =>
      element(Math.floor(at / columns), at % columns, next),
    );
    yield { name, rows, columns, rank: Math.min(rows, columns, 8), values };
  }
  for (const scale of [1e18, 1e-18, 1e30, 1e-30]) {
    const values = withSpectrum(
      80,
      60,
      list(60, (i) => 1e-3 ** (i / 59)),
      seed++,
    ).map((value) => scale * value);
    yield { name: `scaled by ${scale}`, rows: 80, columns: 60, rank: 8, values };
  }
  yield { name: 'large, high', rows: 4096, columns: 512, rank: 24, values: large(4096, 512, 40, 0.05, seed++) };
  yield { name: 'large, wide', rows: 511, columns: 4097, rank: 24, values: large(511, 4097, 40, 0.05, seed++) };
}

/** Matrices of the sample model. */
export async function modelMatrices(): Promise<SuiteMatrix[]> {
  const checkpoint = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
  const graph = graphOf(checkpoint.config, `${SAMPLE_MODEL}/config.json`);
  const weights = await dequantizedWeights(checkpoint, graph);
  await checkpoint.close();
  const chosen = graph.weights.filter(({ name }) => /layers\.[02]\.(mlp\.(up|down)|self_attn\.(q|v))_proj/.test(name));
  return chosen.map(({ name, shape }) => ({
    ...{ name, rows: shape[0]!, columns: shape[1]!, rank: 32, values: weights(name) },
  }));
}
