import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError } from '../../src/errors.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Step } from '../../src/gpu/kernel.ts';
import { quantizedActivations } from '../../src/graph/reference/integer-linear.ts';
import { linear } from '../../src/graph/reference/linear.ts';
import {
  blockIntegerLinearSteps,
  blockIntegerVariants,
  quantizeBlocksStep,
} from '../../src/kernels/block-integer-linear.ts';
import { allocateWeight, uploadWeight } from '../../src/kernels/weight.ts';
import { EVERYTHING } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';
import { randomStored } from './random-stored.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** Every group size, types of scales, and rows that are no multiple of a tile. */
const FORMATS = ['q4_0', 'int4-g16-f32', 'int8-g128-bf16'].concat(
  EVERYTHING ? ['q8_0', 'int4-g64', 'int8-g32-f32', 'int4-row'] : [],
);

test.each(FORMATS)('%s: products of rounded activations equal the f64 reference', async (name) => {
  const format = formatByName(name);
  const random = randomSource(name.length * 31 + 7);
  const upTo = (n: number) => 1 + Math.floor(random() * n);
  const steps: Step[] = [];
  const checks: { buffer: GPUBuffer; expected: Float64Array; bound: Float64Array; what: string }[] = [];
  const uploaded = (values: Float32Array<ArrayBuffer>) => {
    const buffer = gpu.memory.allocate(Math.max(4, values.byteLength));
    gpu.upload(buffer, new Uint8Array(values.buffer));
    return { buffer, size: values.byteLength };
  };
  const multiple = Math.max(32, format.block ?? 32);
  // Whole rows make a pipeline of every length.
  for (let i = 0; i < (name.endsWith('-row') ? 10 : 40); i++) {
    const [rows, k, tokens] = [upTo(i % 8 === 0 ? 300 : 20), multiple * upTo(6), upTo(i % 3 === 0 ? 40 : 5)];
    const variant = blockIntegerVariants[i % blockIntegerVariants.length]!.name;
    const stored = randomStored(format, rows, k, random);
    const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
    // Blocks of very different sizes, and some of zeros.
    const x = Float32Array.from({ length: tokens * k }, (_, at) => {
      const size = 10 ** (((at >> 5) % 7) - 3);
      return (at >> 5) % 5 === 4 ? 0 : size * (2 * random() - 1);
    });
    const bias = random() < 0.3 ? Float32Array.from({ length: rows }, random) : undefined;
    const to = {
      codes: { buffer: gpu.memory.allocate(tokens * k) },
      scales: { buffer: gpu.memory.allocate((tokens * k) / 8) },
    };
    const y = gpu.memory.allocate(4 * tokens * rows);
    steps.push(
      quantizeBlocksStep({ x: uploaded(x), to, tokens, k }),
      ...blockIntegerLinearSteps({
        ...{ x: to, weight, y: { buffer: y }, tokens, variant },
        ...(bias && { bias: uploaded(bias) }),
      }),
    );
    const w = format.reference.dequantize(stored, rows, k);
    const rounded = quantizedActivations(x, 32);
    const magnitude = linear(rounded.map(Math.abs), w.map(Math.abs), k, bias?.map(Math.abs));
    checks.push({
      buffer: y,
      expected: linear(rounded, w, k, bias),
      // Of sums in f32 in any order, and of three roundings for each sixteen columns: a code at a tie is the same on both sides.
      bound: magnitude.map((m) => m * 2 ** -24 * (k + 8)),
      what: `${rows}x${k} by ${tokens}, ${variant}`,
    });
  }
  await gpu.scheduler.run(steps);
  for (const { buffer, expected, bound, what } of checks) {
    const got = new Float32Array((await gpu.readBack(buffer, 0, expected.length * 4)).buffer);
    const worst = expected.findIndex((value, i) => !(Math.abs(got[i]! - value) <= bound[i]!));
    expect(worst === -1 ? 'equal' : `${what}: at ${worst} got ${got[worst]}, expected ${expected[worst]}`).toBe(
      'equal',
    );
  }
});

test('what does not fit is refused before anything runs', () => {
  const view = { buffer: gpu.memory.allocate(4096), size: 4096 };
  const to = { codes: view, scales: view };
  const product = (name: string, k: number) => () =>
    blockIntegerLinearSteps({ x: to, weight: allocateWeight(gpu, formatByName(name), 4, k, 'w'), y: view, tokens: 1 });
  expect(product('q4_0', 64)).not.toThrow();
  for (const [name, k] of [
    ['q4_1', 64],
    ['int4-g32-asym', 64],
    ['f32', 64],
    ['int8-g16', 48],
  ] as const) {
    expect(product(name, k), name).toThrow(ArgumentError);
  }
  expect(() => quantizeBlocksStep({ x: view, to, tokens: 1, k: 48 })).toThrow(ArgumentError);
});
