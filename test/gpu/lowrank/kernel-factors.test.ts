import { expect, test } from 'vitest';
import { ArgumentError, CancelledError, NonFiniteError } from '../../../src/errors.ts';
import {
  type ConvKernel,
  channelFactors,
  reordered,
  spatialFactors,
} from '../../../src/passes/lowrank/kernel-factors.ts';
import { singularValues } from '../../../src/passes/lowrank/reference/singular-values.ts';
import { tuckerError } from '../../../src/passes/lowrank/reference/tucker.ts';
import { tuckerFactors } from '../../../src/passes/lowrank/tucker.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();
const norm = (values: ArrayLike<number>) => Math.hypot(0, ...Array.from(values));

/** A few filters of smooth shapes in random mixtures, and noise. */
function kernelOf(shape: ConvKernel['shape'], seed: number, noise = 0.05): ConvKernel {
  const next = generator(seed);
  const [outputs, inputs, height, width] = shape;
  const mixed = [outputs, inputs, height, width].map((size) => filled(3 * size, () => gaussian(next)));
  const values = new Float32Array(outputs * inputs * height * width);
  for (let at = 0; at < values.length; at++) {
    const places = [
      Math.floor(at / (inputs * height * width)),
      Math.floor(at / (height * width)) % inputs,
      Math.floor(at / width) % height,
      at % width,
    ];
    for (let part = 0; part < 3; part++) {
      values[at]! += places.reduce((product, place, kind) => product * mixed[kind]![3 * place + part]!, 1);
    }
    values[at]! += noise * gaussian(next);
  }
  return { values, shape };
}

/** What a kernel makes of an image [inputs, side, side] without padding, in f64: [outputs, …]. */
function convolve({ values, shape }: ConvKernel, image: ArrayLike<number>, high: number, wide: number) {
  const [outputs, inputs, height, width] = shape;
  const [rows, columns] = [high - height + 1, wide - width + 1];
  const out = new Float64Array(outputs * rows * columns);
  for (let o = 0; o < outputs; o++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        let sum = 0;
        for (let i = 0; i < inputs; i++) {
          for (let h = 0; h < height; h++) {
            for (let w = 0; w < width; w++) {
              const weight = values[((o * inputs + i) * height + h) * width + w]!;
              sum += weight * image[(i * high + y + h) * wide + x + w]!;
            }
          }
        }
        out[(o * rows + y) * columns + x] = sum;
      }
    }
  }
  return { out, high: rows, wide: columns };
}

/** The kernel that convolutions in a row are: their responses to single pixels. */
function together(kernels: readonly ConvKernel[], [outputs, inputs, height, width]: ConvKernel['shape']): Float64Array {
  const whole = new Float64Array(outputs * inputs * height * width);
  const [high, wide] = [2 * height - 1, 2 * width - 1];
  for (let input = 0; input < inputs; input++) {
    const image = new Float64Array(inputs * high * wide);
    image[(input * high + height - 1) * wide + width - 1] = 1;
    let seen = { out: image, high, wide };
    for (const kernel of kernels) seen = convolve(kernel, seen.out, seen.high, seen.wide);
    for (let o = 0; o < outputs; o++) {
      for (let p = 0; p < height * width; p++) {
        // The response to a pixel is the kernel turned round.
        whole[(o * inputs + input) * height * width + p] = seen.out[o * height * width + height * width - 1 - p]!;
      }
    }
  }
  return whole;
}

const distance = (made: ArrayLike<number>, { values }: ConvKernel) =>
  norm(Array.from(values, (value, i) => value - made[i]!));

const SHAPES = [
  [8, 6, 3, 3],
  [5, 9, 5, 3],
  [12, 4, 1, 7],
  [7, 7, 1, 1],
] as const;

test('two convolutions in the place of one are the nearest of their form', async () => {
  for (const [seed, shape] of SHAPES.entries()) {
    const [outputs, inputs, height, width] = shape;
    const kernel = kernelOf(shape, seed + 1);
    for (const rank of [1, 3]) {
      const spatial = await spatialFactors(bench.gpu, kernel, { rank });
      const byRows = reordered(kernel.values, shape, [1, 2, 0, 3]);
      const best = norm(singularValues(byRows, inputs * height, outputs * width).slice(rank));
      const lost = distance(together([spatial.first, spatial.second], shape), kernel);
      expect(spatial.first.shape).toEqual([rank, inputs, height, 1]);
      expect(spatial.second.shape).toEqual([outputs, rank, 1, width]);
      expect(lost, `spatial, ${shape}`).toBeLessThanOrEqual(1.01 * best + 1e-5 * norm(kernel.values));
      expect(Math.abs(spatial.error - lost / norm(kernel.values))).toBeLessThanOrEqual(1e-4);

      const channel = await channelFactors(bench.gpu, kernel, { rank });
      const values = singularValues(kernel.values, outputs, inputs * height * width);
      const away = distance(together([channel.first, channel.second], shape), kernel);
      expect(away, `channel, ${shape}`).toBeLessThanOrEqual(
        1.01 * norm(values.slice(rank)) + 1e-5 * norm(kernel.values),
      );
    }
  }
});

test('Tucker-2 loses what orthogonal iteration in f64 loses, in a basis of each kind of channels', async () => {
  for (const [seed, shape] of SHAPES.entries()) {
    const [outputs, inputs, height, width] = shape;
    const kernel = kernelOf(shape, seed + 11, 0.3);
    for (const ranks of [
      [2, 2],
      [4, 3],
      [1, 1],
      [outputs, 2],
    ] as const) {
      if (ranks[0] > height * width * ranks[1] || ranks[1] > height * width * ranks[0]) continue;
      const { first, core, last, error } = await tuckerFactors(bench.gpu, kernel, { ranks });
      expect(core.shape).toEqual([ranks[0], ranks[1], height, width]);
      const best = tuckerError(kernel.values, [outputs, inputs, height * width], ranks);
      const lost = distance(together([first, core, last], shape), kernel);
      expect(lost, `${shape}, ${ranks}`).toBeLessThanOrEqual(1.01 * best + 1e-5 * norm(kernel.values));
      expect(Math.abs(error - lost / norm(kernel.values))).toBeLessThanOrEqual(1e-4);
    }
  }
});

test('kernels and ranks that make no sense are refused', async () => {
  const kernel = kernelOf([4, 3, 3, 3], 5);
  const inUse = bench.gpu.memory.bytesInUse;
  const refused = (work: Promise<unknown>) => work.catch((error: unknown) => error);
  expect(await refused(spatialFactors(bench.gpu, kernel, { rank: 0 }))).toBeInstanceOf(ArgumentError);
  expect(await refused(channelFactors(bench.gpu, kernel, { rank: 5 }))).toBeInstanceOf(ArgumentError);
  expect(await refused(tuckerFactors(bench.gpu, kernel, { ranks: [5, 1] }))).toBeInstanceOf(ArgumentError);
  const pixels = kernelOf([4, 3, 1, 1], 5);
  expect(await refused(tuckerFactors(bench.gpu, pixels, { ranks: [3, 1] }))).toBeInstanceOf(ArgumentError);
  const short = { values: kernel.values.slice(1), shape: kernel.shape };
  expect(await refused(spatialFactors(bench.gpu, short, { rank: 1 }))).toBeInstanceOf(ArgumentError);
  const bad = { values: kernel.values.slice(), shape: kernel.shape };
  bad.values[7] = Number.NaN;
  expect(await refused(channelFactors(bench.gpu, bad, { rank: 1 }))).toBeInstanceOf(NonFiniteError);
  expect(await refused(tuckerFactors(bench.gpu, bad, { ranks: [1, 1] }))).toBeInstanceOf(NonFiniteError);
  const stopped = { signal: AbortSignal.abort() };
  expect(await refused(tuckerFactors(bench.gpu, kernel, { ranks: [2, 2], ...stopped }))).toBeInstanceOf(CancelledError);
  expect(bench.gpu.memory.bytesInUse).toBe(inUse);
});
