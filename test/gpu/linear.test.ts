import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, FormatError, OutOfMemoryError } from '../../src/errors.ts';
import type { Format } from '../../src/formats/format.ts';
import { formatByName, formats } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView, Step } from '../../src/gpu/kernel.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { linear } from '../../src/graph/reference/linear.ts';
import { blockIntegerVariants } from '../../src/kernels/block-integer-linear.ts';
import { integerVariants } from '../../src/kernels/integer-linear.ts';
import { linearSteps } from '../../src/kernels/linear.ts';
import { halfVariants, linearVariants, linearVariantsFor } from '../../src/kernels/linear-variants.ts';
import { allocateWeight, readWeight, uploadWeight, wrapDense } from '../../src/kernels/weight.ts';
import { EVERYTHING, FEWER, formatsUnderTest, SHAPES } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';
import { randomStored } from './random-stored.ts';

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
  variant: string;
}

/** Variants that read weights as the others do and take long to compile on a CPU: over some formats. */
const SLOW_TO_COMPILE: Readonly<Record<string, readonly string[]>> = {
  f32: ['sliced-8', 'staged-64'],
  ...(EVERYTHING && {
    q4_0: ['staged-64', 'staged-128', 'broadcast-32'],
    q6_k: ['sliced-8'],
    'int4-g64-asym': ['broadcast-32'],
  }),
};

/** Over these, variants by more lanes and subgroups; over the others the simplest of each kind. */
const MORE = ['f32', 'q4_0', 'q8_0', 'q4_k'];

/** Shapes for one format: tiny, odd, not multiples of any tile, and some larger ones. */
function cases(format: Format, count: number, random: () => number): Case[] {
  // Others for each format, because each is a pipeline to compile; more where the format is the only one of its kind.
  const index = formats.indexOf(format);
  const more = EVERYTHING || MORE.includes(format.name);
  const simple = ['vector-1', more ? `tile-${4 << (index % 2)}` : 'tile-4'];
  const mine = [...(FEWER && !more ? [simple[index % 2]!] : simple), ...(SLOW_TO_COMPILE[format.name] ?? [])];
  if (more) {
    mine.push(`broadcast-${1 << ((index >> 1) % (EVERYTHING ? 5 : 4))}`);
    mine.push(`vector-${2 << (index % 6)}`, `subgroup-${[32, 64, 256][index % 3]}`);
  }
  const upTo = (n: number) => 1 + Math.floor(random() * n);
  return Array.from({ length: count }, (_, i) => {
    const rows = i % 10 === 0 ? upTo(600) : upTo(40);
    const k = format.kind === 'dense' ? (i % 3 === 0 ? 4 * upTo(40) : upTo(170)) : format.block * upTo(5);
    const tokens = i % 2 === 0 || (FEWER && !more && index % 2 === 0) ? upTo(4) : upTo(i % 10 === 1 ? 90 : 40);
    const possible = linearVariantsFor(gpu, { rows, k, tokens }).filter(({ name }) => mine.includes(name));
    return { rows, k, tokens, bias: random() < 0.3, variant: possible[upTo(possible.length) - 1]!.name };
  });
}

/** |error| of an f32 dot product in any order: k roundings of partial sums bounded by Σ|w x|. */
const EPSILON = 2 ** -24;

describe.each(formatsUnderTest.map((format) => [format.name, format] as const))('linear over %s', (_, format) => {
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
    for (const { rows, k, tokens, bias, variant } of cases(format, SHAPES, random)) {
      const stored = randomStored(format, rows, k, random);
      const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
      const x = floats(tokens * k);
      const b = bias ? floats(rows) : undefined;
      const y = gpu.memory.allocate(tokens * rows * 4);
      steps.push(
        ...linearSteps({ x: buffer(x), weight, y: { buffer: y }, tokens, variant, ...(b && { bias: buffer(b) }) }),
      );
      const w = format.reference.dequantize(stored, rows, k);
      const magnitude = linear(x.map(Math.abs), w.map(Math.abs), k, b?.map(Math.abs));
      checks.push({
        buffer: y,
        expected: linear(x, w, k, b),
        bound: magnitude.map((m) => m * EPSILON * (k + 8)),
        what: `${rows}x${k} by ${tokens}, ${variant}`,
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

/** Of a product with a weight in `q4_0`, or `f16` where rows have no whole blocks: what came out, what is right, and the sums of magnitudes. */
async function productBy(variant: string, [rows, k, tokens]: readonly [number, number, number], seed: number) {
  const random = randomSource(seed);
  const format = formatByName(k % 32 === 0 ? 'q4_0' : 'f16');
  const stored = randomStored(format, rows, k, random);
  const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
  const x = Float32Array.from({ length: tokens * k }, () => 2 * random() - 1);
  const bias = Float32Array.from({ length: rows }, () => random());
  const [xBuffer, biasBuffer] = [x, bias].map((values) => {
    const buffer = gpu.memory.allocate(values.byteLength);
    gpu.upload(buffer, new Uint8Array(values.buffer));
    return buffer;
  });
  const y = gpu.memory.allocate(tokens * rows * 4);
  const views = { x: { buffer: xBuffer! }, bias: { buffer: biasBuffer! }, y: { buffer: y } };
  await gpu.scheduler.run(linearSteps({ ...views, weight, tokens, variant }));
  const got = new Float32Array((await gpu.readBack(y, 0, tokens * rows * 4)).buffer);
  const w = format.reference.dequantize(stored, rows, k);
  const expected = linear(x, w, k).map((value, i) => value + bias[i % rows]!);
  return { got, expected, magnitude: linear(x.map(Math.abs), w.map(Math.abs), k) };
}

test.runIf(process.env.COMPRESSA_TEST_CAPABILITIES !== 'core')(
  'sums in f16 are as far off as f16 makes them, and no farther',
  async ({ skip }) => {
    if (!gpu.features.has('shader-f16')) skip('This device has no f16.');
    let beyondF32 = 0;
    for (const shape of [
      [33, 64, 9],
      [70, 1056, 37],
      [4, 32, 1],
    ] as const) {
      const { got, expected, magnitude } = await productBy('half-4', shape, 5);
      const k = shape[1];
      for (const [i, value] of expected.entries()) {
        const error = Math.abs(got[i]! - value);
        // Both factors are rounded, their product, and 32 sums; what is below the least normal number of f16 is lost.
        expect(error).toBeLessThanOrEqual(magnitude[i]! * (35 * 2 ** -11 + (k + 8) * EPSILON) + k * 2 ** -14);
        if (error > magnitude[i]! * (k + 8) * EPSILON) beyondF32++;
      }
    }
    expect(beyondF32).toBeGreaterThan(100);
  },
);

// Few devices have such units: a CPU under Mesa 26, GPUs of the big makers; and browsers have to be asked for them.
test('units that multiply matrices of f16 are as far off as rounding the operands makes them', async ({ skip }) => {
  const sides = gpu.matrixSides.filter((side) => halfVariants.some(({ name }) => name === `matrices-${side}`));
  if (sides.length === 0) skip('This device multiplies no matrices of f16.');
  for (const side of sides) {
    for (const shape of [
      [1, 1, 1],
      [33, 64, 9],
      [4 * side, 4 * side, 4 * side],
      [4 * side + 1, 4 * side + 3, 8 * side + 1],
      [70, 1056, 37],
      [5, 31, 130],
    ] as const) {
      const { got, expected, magnitude } = await productBy(`matrices-${side}`, shape, 6);
      const k = shape[1];
      const worst = expected.findIndex(
        // Both factors are rounded; what is below the least normal number of f16 is lost.
        (value, i) =>
          !(Math.abs(got[i]! - value) <= magnitude[i]! * (2.1 * 2 ** -11 + (k + 8) * EPSILON) + k * 2 ** -14),
      );
      const where = `${shape} at ${worst}: ${got[worst]} in place of ${expected[worst]}`;
      expect(worst === -1 ? 'near' : where).toBe('near');
    }
  }
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

test.each([
  ['vector-64', 1, 140_001],
  ['tile-4', 5, 32 * 65_535 + 41],
  ['sliced-8', 1, 32 * 65_535 + 41],
])('more workgroups than one dimension of a dispatch takes: %s', async (variant, tokens, rows) => {
  const k = 4;
  const w = Float32Array.from({ length: rows * k }, (_, i) => (i % 97) - 48);
  const weight = uploadWeight(gpu, formats[0]!, rows, k, { data: new Uint8Array(w.buffer) }, 'tall');
  const x = Float32Array.from({ length: tokens * k }, (_, i) => 2 ** (i % 5));
  const xBuffer = gpu.memory.allocate(x.byteLength);
  gpu.upload(xBuffer, new Uint8Array(x.buffer));
  const y = gpu.memory.allocate(tokens * rows * 4);
  await gpu.scheduler.run(linearSteps({ x: { buffer: xBuffer }, weight, y: { buffer: y }, tokens, variant }));
  const got = new Float32Array((await gpu.readBack(y, 0, tokens * rows * 4)).buffer);
  weight.release();
  for (const buffer of [xBuffer, y]) gpu.memory.release(buffer);
  // Small whole numbers: exact.
  expect(Buffer.compare(Buffer.from(got.buffer), Buffer.from(Float32Array.from(linear(x, w, k)).buffer))).toBe(0);
});

test('no grid of a product exceeds what a dispatch takes, however many rows there are', () => {
  const lists = [linearVariants, halfVariants, integerVariants, blockIntegerVariants];
  for (const rows of [262_145, 2_097_121, 4_194_305, 60_000_000]) {
    for (const variant of lists.flat()) {
      for (const tokens of [1, 33]) {
        const grid = variant.grid({ rows, k: 4, tokens });
        expect(Math.max(...grid), `${variant.name} ${rows} x ${tokens}`).toBeLessThanOrEqual(65_535);
      }
    }
  }
});

test('a buffer that the caller brought is held to the limits of the device', async () => {
  const core = await openGpu({ capabilities: 'core' });
  const buffer = core.device.createBuffer({ size: 2 ** 27 + 2 ** 20, usage: 0x8c });
  try {
    const [x, y] = [64, 2 ** 18].map((size) => ({ buffer: core.memory.allocate(size), size }));
    const product = (rows: number, offset = 0) =>
      core.scheduler.run(
        linearSteps({
          ...{ x: x!, y: { ...y!, size: 4 * rows }, tokens: 1 },
          weight: wrapDense(buffer, rows, 16, 'f32', offset),
        }),
      );
    await expect(product(8, 4)).rejects.toThrow(/multiples of 256/);
    await expect(product(8, 4)).rejects.toThrow(ArgumentError);
    await expect(product(8, 256)).resolves.toBeUndefined();
    await expect(
      core.scheduler.run(
        linearSteps({
          x: { buffer: core.memory.allocate(2 ** 16) },
          y: y!,
          tokens: 1,
          weight: wrapDense(buffer, 2049, 2 ** 14),
        }),
      ),
    ).rejects.toThrow(OutOfMemoryError);
  } finally {
    buffer.destroy();
    core.close();
  }
});

test('what does not fit is refused before anything runs', () => {
  const weight = allocateWeight(gpu, formats[0]!, 8, 16, 'small');
  const view = (bytes: number) => ({ buffer: weight.parts[0]!.arrays[0]!.buffer, size: bytes });
  const linear1 = (given: Partial<Parameters<typeof linearSteps>[0]>) => () =>
    linearSteps({ x: view(64), weight, y: view(32), tokens: 1, ...given });
  expect(linear1({})).not.toThrow();
  for (const wrong of [
    { x: view(60) },
    { y: view(28) },
    { bias: view(28) },
    { tokens: 0 },
    { tokens: 1.5 },
    ...['', 'vector', 'vector-3', 'tile-5'].map((variant) => ({ variant })),
    { variant: 'vector-1', tokens: 5, x: view(320), y: view(160) },
  ]) {
    expect(linear1(wrong), JSON.stringify(wrong)).toThrow(ArgumentError);
  }
  weight.release();
});

test('sizes that no weight has are refused before anything is allocated', () => {
  const before = gpu.memory.bytesInUse;
  const allocate = (name: string, rows: number, k: number) => allocateWeight(gpu, formatByName(name), rows, k, 'w');
  for (const [rows, k] of [
    [0, 64],
    [-1, 64],
    [2, 0.5],
    [Number.NaN, 64],
  ] as const) {
    expect(() => allocate('f32', rows, k)).toThrow(ArgumentError);
  }
  expect(() => allocate('q4_0', 2, 63)).toThrow(FormatError);
  // Some drivers end the process when asked for this much.
  expect(() => allocate('q4_0', 1e12, 64)).toThrow(OutOfMemoryError);
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('views without a buffer are named', () => {
  const weight = allocateWeight(gpu, formatByName('f32'), 4, 4, 'w');
  const none = {} as BufferView;
  expect(() => linearSteps({ x: none, weight, y: none, tokens: 1 })).toThrow(/"x" is no view of a GPUBuffer/);
  weight.release();
});

test('a step that the device refuses leaves no parameters behind', async () => {
  const weight = allocateWeight(gpu, formats[0]!, 8, 16, 'small');
  const x = gpu.memory.allocate(64);
  const y = gpu.memory.allocate(32);
  const [step] = linearSteps({ x: { buffer: x, size: 64 }, weight, y: { buffer: y, size: 32 }, tokens: 1 });
  // An offset that no device aligns to.
  const bad = { ...step!, bindings: step!.bindings.map((one) => ({ ...one, offset: 4, size: 4 })) };
  const before = gpu.memory.bytesInUse;
  await expect(gpu.scheduler.run([bad])).rejects.toThrow();
  await expect(gpu.scheduler.record([bad])).rejects.toThrow();
  expect(gpu.memory.bytesInUse).toBe(before);
  weight.release();
});

test('a budget that ends in the middle of a weight frees what it had got', async () => {
  const poor = await openGpu({ device: gpu.device, memoryBudget: 3 << 20, bindingLimit: 1 << 20 });
  expect(() => allocateWeight(poor, formats[0]!, 1 << 10, 1 << 10, 'half')).toThrow(OutOfMemoryError);
  expect(poor.memory.bytesInUse).toBe(0);
});

test('an exceeded budget refuses a weight by name', async () => {
  const poor = await openGpu({ device: gpu.device, memoryBudget: 1 << 20 });
  const format = formats[0]!;
  expect(() => allocateWeight(poor, format, 1 << 10, 1 << 10, 'too large')).toThrow(/too large.*budget/);
});
