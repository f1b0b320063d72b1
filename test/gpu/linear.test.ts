import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Format } from '../../src/formats/format.ts';
import { formats } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Step } from '../../src/gpu/kernel.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { linear } from '../../src/graph/reference/linear.ts';
import { linearSteps } from '../../src/kernels/linear.ts';
import { allocateWeight, readWeight, uploadWeight } from '../../src/kernels/weight.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

interface Case {
  rows: number;
  k: number;
  tokens: number;
  bias: boolean;
  lanes: number;
}

/** Shapes for one format: tiny, odd, not multiples of any tile, and some larger ones. */
function cases(format: Format, count: number, random: () => number): Case[] {
  const upTo = (n: number) => 1 + Math.floor(random() * n);
  return Array.from({ length: count }, (_, i) => ({
    rows: i % 10 === 0 ? upTo(300) : upTo(40),
    k: format.kind === 'dense' ? (i % 3 === 0 ? 4 * upTo(40) : upTo(170)) : format.block * upTo(5),
    tokens: i % 2 === 0 ? upTo(4) : upTo(40),
    bias: random() < 0.3,
    lanes: random() < 0.5 ? 1 : 32,
  }));
}

/** |error| of an f32 dot product in any order: k roundings of partial sums bounded by Σ|w x|. */
const EPSILON = 2 ** -24;

describe.each(formats.map((format) => [format.name, format] as const))('linear over %s', (_, format) => {
  test('equals the f64 reference over the dequantized weights', async () => {
    const random = randomSource(format.name.length * 77 + 5);
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const steps: Step[] = [];
    const checks: { buffer: GPUBuffer; expected: Float64Array; bound: Float64Array; what: string }[] = [];
    const floats = (n: number) => Float32Array.from({ length: n }, normal);
    const buffer = (values: Float32Array) => {
      const made = gpu.memory.allocate(Math.max(4, values.byteLength));
      gpu.upload(made, new Uint8Array(values.buffer));
      return { buffer: made, size: values.byteLength };
    };
    for (const { rows, k, tokens, bias, lanes } of cases(format, 200, random)) {
      const stored = format.reference.quantize(floats(rows * k), rows, k);
      const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
      const x = floats(tokens * k);
      const b = bias ? floats(rows) : undefined;
      const y = gpu.memory.allocate(tokens * rows * 4);
      steps.push(
        ...linearSteps({ x: buffer(x), weight, y: { buffer: y }, tokens, lanes, ...(b && { bias: buffer(b) }) }),
      );
      const w = format.reference.dequantize(stored, rows, k);
      const magnitude = linear(x.map(Math.abs), w.map(Math.abs), k, b?.map(Math.abs));
      checks.push({
        buffer: y,
        expected: linear(x, w, k, b),
        bound: magnitude.map((m) => m * EPSILON * (k + 8)),
        what: `${rows}x${k} by ${tokens}, lanes ${lanes}`,
      });
    }
    await gpu.scheduler.run(steps);
    for (const { buffer: y, expected, bound, what } of checks) {
      const got = new Float32Array((await gpu.readBack(y, 0, expected.length * 4)).buffer);
      const worst = expected.findIndex((value, i) => !(Math.abs(got[i]! - value) <= bound[i]!));
      expect(worst === -1 ? 'equal' : `${what}: at ${worst} got ${got[worst]}, expected ${expected[worst]}`).toBe(
        'equal',
      );
    }
  });
});

test('a weight split over several buffers computes as one and reads back whole', async () => {
  const limited = await openGpu({ device: gpu.device, bindingLimit: 4096 });
  const format = formats.find((one) => one.name === 'q4_0')!;
  const [rows, k] = [203, 96];
  const values = Float32Array.from({ length: rows * k }, (_, i) => Math.sin(i * 1.7));
  const stored = format.reference.quantize(values, rows, k);
  const weight = uploadWeight(limited, format, rows, k, stored, 'split');
  expect(weight.parts.length).toBeGreaterThan(2);
  expect(await readWeight(gpu, weight)).toEqual(stored);
  const x = Float32Array.from({ length: 6 * k }, (_, i) => Math.cos(i));
  const xBuffer = gpu.memory.allocate(x.byteLength);
  gpu.upload(xBuffer, new Uint8Array(x.buffer));
  const y = gpu.memory.allocate(6 * rows * 4);
  await gpu.scheduler.run(
    linearSteps({ x: { buffer: xBuffer, size: x.byteLength }, weight, y: { buffer: y }, tokens: 6 }),
  );
  const got = new Float32Array((await gpu.readBack(y, 0, 6 * rows * 4)).buffer);
  const expected = linear(x, format.reference.dequantize(stored, rows, k), k);
  for (const [i, value] of expected.entries()) expect(Math.abs(got[i]! - value)).toBeLessThan(1e-4);
});

test('an exceeded budget refuses a weight by name', async () => {
  const poor = await openGpu({ device: gpu.device, memoryBudget: 1 << 20 });
  const format = formats[0]!;
  expect(() => allocateWeight(poor, format, 1 << 10, 1 << 10, 'too large')).toThrow(/too large.*budget/);
});
