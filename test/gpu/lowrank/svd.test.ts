import { expect, test } from 'vitest';
import { ArgumentError, CancelledError, NonFiniteError } from '../../../src/errors.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { gemm } from '../../../src/kernels/reference/gemm.ts';
import { allocateWeight, uploadWeight, type Weight } from '../../../src/kernels/weight.ts';
import { singularValues } from '../../../src/passes/lowrank/reference/singular-values.ts';
import { type RandomizedSvdOptions, randomizedSvd, type Svd, svd } from '../../../src/passes/lowrank/svd.ts';
import { Profile } from '../../../src/scheduler/profile.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';
import { deviation, geometric, withSpectrum } from './matrices.ts';

const bench = openBench();
const f32 = formatByName('f32');

const weightOf = (values: Float32Array, rows: number, columns: number, gpu = bench.gpu): Weight =>
  uploadWeight(gpu, f32, rows, columns, { data: new Uint8Array(values.buffer) }, 'matrix');

async function factors({ u, v, rank }: Svd, rows: number, columns: number, gpu = bench.gpu) {
  const floats = async (buffer: GPUBuffer, count: number) =>
    new Float32Array((await gpu.readBack(buffer, 0, 4 * count)).buffer);
  return { u: await floats(u.buffer, rows * rank), v: await floats(v.buffer, columns * rank) };
}

/** What was found, and its distance from the matrix and from the best that there is. */
async function decompose(a: Float32Array, rows: number, columns: number, options?: RandomizedSvdOptions) {
  const weight = weightOf(a, rows, columns);
  const found = options ? await randomizedSvd(bench.gpu, weight, options) : await svd(bench.gpu, weight);
  const { rank } = found;
  const { u, v } = await factors(found, rows, columns);
  found.release();
  weight.release();
  const scaled = Float64Array.from(u, (value, i) => value * found.singularValues[i % rank]!);
  const made = gemm({ values: scaled, width: rank }, { values: v, width: rank, transposed: true }, rows, columns, rank);
  const exact = singularValues(a, rows, columns);
  const norm = Math.hypot(...exact);
  return {
    ...found,
    u,
    v,
    exact,
    norm,
    error: Math.sqrt(made.reduce((sum, value, i) => sum + (a[i]! - value) ** 2, 0)),
    least: Math.hypot(0, ...exact.slice(rank)),
    deviation: Math.max(deviation(u, rows, rank), deviation(v, columns, rank)),
  };
}

/** Shapes, with what is special about them. */
const SHAPES = [
  [1, 1],
  [1, 9],
  [9, 1],
  [5, 4],
  [40, 40],
  [33, 70],
  [130, 65],
] as const;

test('all singular values: those of the f64 reference, and vectors that give the matrix back', async () => {
  const next = generator(61);
  for (const [rows, columns] of SHAPES) {
    const side = Math.min(rows, columns);
    const of: Record<string, Float32Array> = {
      random: filled(rows * columns, () => gaussian(next)),
      'falls by 1e8': withSpectrum(rows, columns, geometric(side, 1e8), next),
      'half of the rank': withSpectrum(rows, columns, Array(Math.ceil(side / 2)).fill(1), next),
      zeros: new Float32Array(rows * columns),
      large: filled(rows * columns, () => 1e30 * gaussian(next)),
      small: filled(rows * columns, () => 1e-30 * gaussian(next)),
    };
    for (const [name, a] of Object.entries(of)) {
      const found = await decompose(a, rows, columns);
      const what = `${name}, ${rows} x ${columns}`;
      expect(found.rank).toBe(side);
      expect(found.deviation, `${what}: orthonormality`).toBeLessThanOrEqual(1e-5);
      // Products in f32 with some tens of units of rounding.
      expect(found.error, `${what}: error`).toBeLessThanOrEqual(5e-6 * found.norm);
      for (const [i, value] of found.singularValues.entries()) {
        expect(Math.abs(value - found.exact[i]!), `${what}: value ${i}`).toBeLessThanOrEqual(5e-6 * found.exact[0]!);
        if (i > 0) expect(value).toBeLessThanOrEqual(found.singularValues[i - 1]!);
      }
    }
  }
});

test('columns in place of dependent ones fill the space, in which little is left for the last ones', async () => {
  // Rows and columns of zeros, and rows in the direction of others.
  for (const [seed, size] of [
    [2, 100],
    [6, 100],
    [11, 100],
    [3, 150],
  ] as const) {
    const next = generator(seed);
    const a = filled(size * size, () => (next() < 0.02 ? gaussian(next) : 0));
    const found = await decompose(a, size, size);
    expect(found.qr).toContain('householder');
    expect(found.deviation, `orthonormality, ${seed}`).toBeLessThanOrEqual(1e-5);
    expect(found.error, `error, ${seed}`).toBeLessThanOrEqual(5e-6 * found.norm);
  }
});

test('a rank: as near as the best of that rank', async () => {
  const next = generator(62);
  for (const [rows, columns] of [
    [120, 200],
    [257, 90],
  ] as const) {
    const side = Math.min(rows, columns);
    const spectra: Record<string, readonly number[]> = {
      polynomial: Array.from({ length: side }, (_, i) => 1 / (i + 1)),
      exponential: geometric(side, 1e3),
      step: Array.from({ length: side }, (_, i) => (i < 12 ? 1 : 1e-2)),
      'exact rank': geometric(12, 10),
    };
    for (const [name, values] of Object.entries(spectra)) {
      const a = withSpectrum(rows, columns, values, next);
      for (const rank of [1, 12]) {
        const found = await decompose(a, rows, columns, { rank });
        const what = `${name}, ${rows} x ${columns}, rank ${rank}`;
        expect(found.deviation, what).toBeLessThanOrEqual(1e-5);
        if (found.least > 1e-4 * found.norm) expect(found.error / found.least, what).toBeLessThanOrEqual(1.01);
        else expect(found.error - found.least, what).toBeLessThanOrEqual(3e-5 * found.norm);
      }
    }
  }
});

test('a sketch that is wide beside a large matrix has room for its sums', async () => {
  const next = generator(65);
  const [rows, columns, own] = [1410, 1408, 3];
  const [x, y] = [filled(rows * own, () => gaussian(next)), filled(columns * own, () => gaussian(next))];
  const a = Float32Array.from(
    gemm({ values: x, width: own }, { values: y, width: own, transposed: true }, rows, columns, own),
  );
  const weight = weightOf(a, rows, columns);
  const found = await randomizedSvd(bench.gpu, weight, { rank: 128, powerIterations: 0 });
  const { u, v } = await factors(found, rows, columns);
  found.release();
  weight.release();
  const scaled = u.map((value, i) => value * found.singularValues[i % 128]!);
  let [wrong, all] = [0, 0];
  for (let row = 0; row < rows; row += 7) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let i = 0; i < 128; i++) sum += scaled[row * 128 + i]! * v[column * 128 + i]!;
      wrong += (sum - a[row * columns + column]!) ** 2;
      all += a[row * columns + column]! ** 2;
    }
  }
  expect(Math.sqrt(wrong / all)).toBeLessThanOrEqual(3e-5);
});

test('an energy or a tolerance: the least rank that reaches it', async () => {
  const next = generator(63);
  const a = withSpectrum(150, 240, geometric(150, 1e4), next);
  for (const [options, most] of [
    [{ energy: 0.9 }, Math.sqrt(0.1)],
    [{ tolerance: 0.2 }, 0.2],
    [{ tolerance: 0.01 }, 0.01],
    [{ tolerance: 1e-3 }, 1e-3],
  ] as const) {
    const { rank, error, norm, exact } = await decompose(a, 150, 240, options);
    const what = JSON.stringify(options);
    expect(error / norm, what).toBeLessThanOrEqual(most * 1.001);
    const before = Math.hypot(...exact.slice(rank - 1)) / norm;
    // A sketch that is not of everything may need a rank more.
    expect(Math.min(before, Math.hypot(...exact.slice(Math.max(0, rank - 2))) / norm), what).toBeGreaterThan(
      most * 0.999,
    );
  }
  expect((await decompose(a, 150, 240, { energy: 1 })).rank).toBe(150);
});

test('a matrix in several buffers, the same bytes again, other bytes for another seed', async () => {
  const next = generator(64);
  const [rows, columns] = [100, 64];
  const a = withSpectrum(rows, columns, geometric(64, 100), next);
  const small = await openGpu({ bindingLimit: 4096, capabilities: 'core' });
  try {
    const run = async (matrix: Weight, gpu: typeof small, seed: number) => {
      const found = await randomizedSvd(gpu, matrix, { rank: 4, seed });
      const made = await factors(found, rows, columns, gpu);
      found.release();
      return { ...made, singularValues: found.singularValues };
    };
    const split = weightOf(a, rows, columns, small);
    expect(split.parts.length).toBeGreaterThan(3);
    const inParts = await run(split, small, 5);
    const whole = weightOf(a, rows, columns);
    const once = await run(whole, bench.gpu, 5);
    expect(await run(whole, bench.gpu, 5)).toEqual(once);
    expect((await run(whole, bench.gpu, 6)).u).not.toEqual(once.u);
    // A decaying spectrum: another sketch finds nearly the same.
    for (const [i, value] of inParts.singularValues.entries()) expect(value).toBeCloseTo(once.singularValues[i]!, 2);
    expect(deviation(inParts.u, rows, 4)).toBeLessThanOrEqual(1e-5);
  } finally {
    small.close();
  }
});

test('memory stays below the bound that is stated, and is given back', async () => {
  const { gpu } = bench;
  const [m, n] = [300, 200];
  const weight = weightOf(
    filled(m * n, () => 1),
    m,
    n,
  );
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  const profile = new Profile(gpu);
  const progress: number[] = [];
  const found = await randomizedSvd(gpu, weight, {
    rank: 10,
    profile,
    onProgress: (done, total) => progress.push(done / total),
  });
  const l = found.sketch;
  const bound = 4 * (2 * m + 2 * n + m) * (l + 3) + 170 * m + 40 * l * l + 6 * 2 ** 20 + 4 * (m + n) * found.rank;
  // The pool rounds sizes up by an eighth at most.
  expect(gpu.memory.peakBytes - before).toBeLessThanOrEqual((9 / 8) * bound);
  found.release();
  expect(gpu.memory.bytesInUse).toBe(before);
  expect(progress.at(-1)).toBe(1);
  expect(progress).toEqual(progress.toSorted((one, other) => one - other));
  expect(profile.times.map(({ label }) => label)).toContain('A times');
  weight.release();
});

test('what makes no sense is refused by name', async () => {
  const { gpu } = bench;
  const weight = weightOf(
    filled(60, (i) => i),
    6,
    10,
  );
  const inUse = gpu.memory.bytesInUse;
  const refused: RandomizedSvdOptions[] = [
    {},
    { rank: 2, energy: 0.5 },
    { rank: 0 },
    { rank: -1 },
    { rank: 7 },
    { rank: 1.5 },
    { rank: Number.NaN },
    { energy: 0 },
    { energy: 1.01 },
    { energy: Number.NaN },
    { tolerance: -0.1 },
    { tolerance: 1 },
    { rank: 1, oversampling: -1 },
    { rank: 1, powerIterations: 0.5 },
    { rank: 1, seed: 2 ** 32 },
  ];
  for (const options of refused) {
    await expect(randomizedSvd(gpu, weight, options), JSON.stringify(options)).rejects.toThrow(ArgumentError);
  }
  const signal = AbortSignal.abort();
  await expect(randomizedSvd(gpu, weight, { rank: 1, signal })).rejects.toThrow(CancelledError);
  const half = allocateWeight(gpu, formatByName('f16'), 4, 4, 'half');
  await expect(svd(gpu, half)).rejects.toThrow(/f16.*dequantize/);
  half.release();
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const broken = weightOf(
      filled(60, (i) => (i === 23 || i === 41 ? bad : i)),
      6,
      10,
    );
    await expect(svd(gpu, broken)).rejects.toThrow(NonFiniteError);
    await expect(svd(gpu, broken)).rejects.toThrow('element [2, 3]');
    broken.release();
  }
  expect(gpu.memory.bytesInUse).toBe(inUse);
  weight.release();
});
