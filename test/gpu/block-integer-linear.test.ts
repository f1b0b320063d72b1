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

test('workgroups that are spread over two dimensions, as those of 262,144 rows are', async () => {
  const [rows, k] = [1001, 32];
  const format = formatByName('q4_0');
  const stored = Object.fromEntries(
    format.arrays.map(({ name }) => {
      // Scales of 1 in f16 and any codes.
      const bytes = new Uint8Array(name === 'scales' ? rows * 2 : (rows * k) / 2);
      if (name === 'scales') new Uint16Array(bytes.buffer).fill(0x3c00);
      else for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(i, 2654435761) >>> 24;
      return [name, bytes];
    }),
  );
  const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
  const codes = { buffer: gpu.memory.allocate(k) };
  const scales = { buffer: gpu.memory.allocate(4) };
  gpu.upload(
    codes.buffer,
    Uint8Array.from({ length: k }, (_, i) => 3 * i - 40),
  );
  gpu.upload(scales.buffer, new Uint8Array(Float32Array.of(0.5).buffer));
  // Two partial sums are the same in any order.
  const [one, other] = await Promise.all(
    ['blocks-64', 'blocks-1'].map(async (variant) => {
      const y = { buffer: gpu.memory.allocate(4 * rows) };
      const steps = blockIntegerLinearSteps({ x: { codes, scales }, weight, y, tokens: 1, variant });
      const spread = (step: Step): Step => ({ ...step, grid: [Math.ceil(step.grid[0] / 2), 2, 1] });
      await gpu.scheduler.run(variant === 'blocks-64' ? steps.map(spread) : steps);
      return gpu.readBack(y.buffer, 0, 4 * rows);
    }),
  );
  expect(Buffer.compare(one!, other!)).toBe(0);
  const last = new Float32Array(one!.buffer).slice(-100);
  expect(new Set(last).size).toBeGreaterThan(50);
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
