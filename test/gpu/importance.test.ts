import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Format, HostArrays } from '../../src/formats/format.ts';
import { arrayBytes, groupOf } from '../../src/formats/layout.ts';
import { weighs } from '../../src/formats/methods.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView } from '../../src/gpu/kernel.ts';
import { quantizeStep } from '../../src/kernels/quantize.ts';
import { formatsUnderTest } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { cases, gaussian, generator } from './weight-cases.ts';

const SHAPES = 60;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const buffers: GPUBuffer[] = [];
function uploaded(bytes: Uint8Array): BufferView {
  const buffer = gpu.memory.allocate(bytes.length);
  buffers.push(buffer);
  gpu.upload(buffer, bytes);
  return { buffer };
}

const bytesOf = (numbers: Float32Array) => new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);

/** Quantizes on the GPU by the method `search`. */
async function searchOnGpu(format: Format, weights: Float32Array, rows: number, k: number, importance?: Float32Array) {
  const to = format.arrays.map((array) => uploaded(new Uint8Array(arrayBytes(array, rows, k)).fill(0xa5)));
  const step = quantizeStep({
    source: formatByName('f32'),
    from: uploaded(bytesOf(weights)),
    format,
    to,
    rows,
    k,
    bad: uploaded(new Uint8Array(4)),
    method: 'search',
    ...(importance && { importance: uploaded(bytesOf(importance)) }),
  });
  await gpu.scheduler.run([step]);
  const arrays: HostArrays = {};
  for (const [i, array] of format.arrays.entries()) {
    arrays[array.name] = await gpu.readBack(to[i]!.buffer, 0, arrayBytes(array, rows, k));
  }
  for (const buffer of buffers.splice(0)) gpu.memory.release(buffer);
  return arrays;
}

/** Kinds of importance: undefined, alike, of every size, with zeros, and made to overflow or to vanish. */
const IMPORTANCES: readonly ((next: () => number) => (() => number) | undefined)[] = [
  () => undefined,
  (next) => () => Math.exp(gaussian(next)),
  (next) => () => Math.exp(3 * gaussian(next)),
  (next) => () => (next() < 0.5 ? 0 : next()),
  (next) => () => (next() < 0.97 ? 0 : 2 ** (next() * 200 - 100)),
  () => () => 0,
  () => () => 0.375,
  (next) => () => 2 ** (next() * 254 - 126),
  (next) => () => 3e38 * next(),
  (next) => () => 2 ** -149 * Math.floor(next() * 1000),
];

function importanceOf(k: number, next: () => number): Float32Array | undefined {
  const draw = IMPORTANCES[Math.floor(next() * IMPORTANCES.length)]!(next);
  return draw && Float32Array.from({ length: k }, draw);
}

/** The largest of some numbers, or 1 where there is only zero. */
const largest = (numbers: Float32Array) => numbers.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;

const named = formatsUnderTest.filter(weighs).map((format, i) => [format.name, format, i] as const);

describe.each(named)('%s', (_name, format, i) => {
  // Each length of rows that share a scale is a kernel of its own, to be compiled.
  const shapes = format.wholeRows ? SHAPES / 3 : SHAPES;

  test(`searching loses no more than the reference, and that no more than rounding, ${shapes} shapes`, async () => {
    const next = generator(900 + i);
    let [same, all] = [0, 0];
    const sums = { ours: 0, reference: 0 };
    for (const { rows, k, weights } of cases(format.block, 900 + i, false, shapes)) {
      const importance = importanceOf(k, next);
      const options = { method: 'search', ...(importance && { importance }) } as const;
      const values = (host: HostArrays) => format.reference.dequantize(host, rows, k);
      const reference = values(format.reference.quantize(weights, rows, k, options));
      const rounded = format.searched ? reference : values(format.reference.quantize(weights, rows, k));
      const ours = values(await searchOnGpu(format, weights, rows, k, importance));
      // The sub-blocks of a block share a step: one of them gains what another loses.
      const group = format.searched ? format.block : format.integer ? groupOf(format, k) : format.grid!.group;
      for (let first = 0; first < weights.length; first += group) {
        const unit = largest(weights.subarray(first, first + group));
        const given = importance?.subarray(first % k, (first % k) + group);
        // What is subnormal counts as zero, and of a group in which nothing counts everything does.
        const gains = given?.some((g) => g >= 2 ** -126) ? given : new Float32Array(group).fill(1);
        // In units of the largest weight and of the largest importance of those that share a scale: others over- and underflow.
        const counts = largest(gains);
        const error = (from: Float32Array) =>
          gains.reduce((sum, g, j) => sum + (g / counts) * ((from[first + j]! - weights[first + j]!) / unit) ** 2, 0);
        sums.ours += error(ours);
        sums.reference += error(reference);
        // Choices made otherwise cost up to 2^-14 each. Integer groups go on in rounds from the best trial, which end in one of several optima:
        // a device may find another there, better or worse, but never one that loses more than rounding.
        const most = format.integer ? error(rounded) : error(reference);
        expect(error(ours)).toBeLessThanOrEqual(most * 1.001 + 1e-11);
        if (!format.searched) expect(error(reference)).toBeLessThanOrEqual(error(rounded) * 1.0001 + 1e-11);
        all++;
        if (ours.subarray(first, first + group).every((value, j) => value === reference[first + j])) same++;
      }
    }
    expect(same / all).toBeGreaterThan(0.9);
    expect(sums.ours).toBeLessThanOrEqual(sums.reference * 1.001 + 1e-11);
  });

  test('an importance lowers the error that it weighs', async () => {
    const next = generator(950 + i);
    const [rows, k] = [8, 1024];
    const weights = Float32Array.from({ length: rows * k }, () => gaussian(next));
    const importance = Float32Array.from({ length: k }, () => Math.exp(2 * gaussian(next)));
    const error = async (given?: Float32Array) => {
      const values = format.reference.dequantize(await searchOnGpu(format, weights, rows, k, given), rows, k);
      return values.reduce((sum, w, j) => sum + importance[j % k]! * (w - weights[j]!) ** 2, 0);
    };
    // Mxfp4 has few scales to choose from.
    expect(await error(importance)).toBeLessThan((await error()) * (format.name === 'mxfp4' ? 1 : 0.9));
  });

  test('an importance of zeros is none, and one that is alike everywhere gives no larger error', async () => {
    const next = generator(970 + i);
    const [rows, k] = [3, 512];
    const weights = Float32Array.from({ length: rows * k }, () => gaussian(next));
    const plain = await searchOnGpu(format, weights, rows, k);
    expect(await searchOnGpu(format, weights, rows, k, new Float32Array(k))).toEqual(plain);
    const error = (host: HostArrays) =>
      format.reference.dequantize(host, rows, k).reduce((sum, w, j) => sum + (w - weights[j]!) ** 2, 0);
    const alike = await searchOnGpu(format, weights, rows, k, new Float32Array(k).fill(0.375));
    expect(error(alike)).toBeLessThanOrEqual(error(plain) * 1.001);
  });
});
