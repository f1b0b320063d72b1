import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError } from '../../src/errors.ts';
import { encodeF16 } from '../../src/files/convert.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Step } from '../../src/gpu/kernel.ts';
import { geluMul } from '../../src/graph/reference/gelu-mul.ts';
import { siluMul } from '../../src/graph/reference/silu-mul.ts';
import { sumLinearStep } from '../../src/kernels/sum-linear.ts';
import { padToWord, uploadWeight } from '../../src/kernels/weight.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';
import { randomStored } from './random-stored.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** Each rank, count of matrices, gate and number of lanes is a pipeline to compile. */
const CASES = [
  { format: 'int3-g32', rank: 32, matrices: 3, lanes: 1 },
  { format: 'int3-g32', rank: 5, matrices: 1, lanes: 32 },
  { format: 'f32', rank: 1, matrices: 2, lanes: 8 },
  { format: 'q4_k', rank: 4, matrices: 1, lanes: 1 },
] as const;

test.each(CASES)('$format + rank $rank of $matrices matrices equals the f64 reference', async (of) => {
  const { rank, matrices, lanes } = of;
  const format = formatByName(of.format);
  const f16 = formatByName('f16');
  const random = randomSource(rank + 7);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const upTo = (n: number) => 1 + Math.floor(random() * n);
  const floats = (n: number) => Float32Array.from({ length: n }, normal);
  const upload = (values: Float32Array) => {
    const made = gpu.memory.allocate(values.byteLength);
    gpu.upload(made, new Uint8Array(values.buffer));
    return { buffer: made, size: values.byteLength };
  };
  const steps: Step[] = [];
  const checks: { y: GPUBuffer; expected: Float64Array; bound: Float64Array; what: string }[] = [];
  // Where a matrix ends before another is part of the pipeline: few sizes, many contents.
  const shapes = Array.from({ length: matrices === 1 ? 1 : 3 }, () => Array.from({ length: matrices }, () => upTo(40)));
  for (let n = 0; n < 60; n++) {
    const gate = ([undefined, 'silu', 'gelu'] as const)[matrices === 2 ? n % 3 : 0];
    const half = [7, 30, 58][n % 3]!;
    const rows = gate ? [half, half] : matrices === 1 ? [upTo(200)] : shapes[n % shapes.length]!;
    const all = rows.reduce((sum, count) => sum + count, 0);
    const k = format.kind === 'dense' ? (n % 2 ? 4 * upTo(30) : upTo(90)) : format.block * upTo(4);
    const adds = random() < 0.5;
    const made = gate ? half : all;
    const into = random() < 0.5 ? { start: upTo(9) - 1, width: made + 8 + upTo(5) } : { start: 0, width: made };
    const stored = randomStored(format, all, k, random);
    const base = uploadWeight(gpu, format, all, k, stored, 'base');
    const halves = encodeF16(floats(all * rank));
    const left = uploadWeight(gpu, f16, all, rank, { data: padToWord(halves) }, 'left');
    const [x, inner, before] = [floats(k), floats(matrices * rank), floats(into.width)];
    const y = upload(before);
    steps.push(
      sumLinearStep({
        ...{ x: upload(x), base, left, inner: upload(inner), rows, y, into, adds, lanes },
        ...(gate && { gate }),
      }),
    );
    const w = format.reference.dequantize(stored, all, k);
    const a = f16.reference.dequantize({ data: padToWord(halves) }, all, rank);
    const [sums, sizes] = [new Float64Array(all), new Float64Array(all)];
    for (let row = 0, matrix = 0, end = rows[0]!; row < all; row++) {
      while (row >= end) end += rows[++matrix]!;
      const add = (one: number, other: number) => {
        sums[row]! += one * other;
        sizes[row]! += Math.abs(one * other);
      };
      for (let i = 0; i < k; i++) add(w[row * k + i]!, x[i]!);
      for (let i = 0; i < rank; i++) add(a[row * rank + i]!, inner[matrix * rank + i]!);
    }
    const [lower, upper] = [sums.subarray(0, half), sums.subarray(half)];
    const gated = !gate ? sums : gate === 'silu' ? siluMul(lower, upper) : geluMul(lower, upper);
    const expected = Float64Array.from(before);
    const bound = new Float64Array(before.length);
    // Roundings of partial sums; the activations' slope is below 1.2 and their size below that of their argument.
    const error = (i: number) => sizes[i]! * 2 ** -24 * (k + rank + 8);
    for (let i = 0; i < made; i++) {
      const at = into.start + i;
      expected[at] = gated[i]! + (adds ? before[at]! : 0);
      bound[at] = gate
        ? 1.2 * (error(i) * Math.abs(upper[i]!) + error(half + i) * (Math.abs(lower[i]!) + error(i))) +
          16 * 2 ** -24 * Math.abs(gated[i]!)
        : error(i);
      if (adds) bound[at]! += 2 ** -23 * (Math.abs(before[at]!) + Math.abs(gated[i]!));
    }
    checks.push({ y: y.buffer, expected, bound, what: `${rows} x ${k}, ${gate}, ${adds}, at ${into.start}` });
  }
  await gpu.scheduler.run(steps);
  for (const { y, expected, bound, what } of checks) {
    const got = new Float32Array((await gpu.readBack(y, 0, expected.length * 4)).buffer);
    const wrong = expected.findIndex((value, i) => !(Math.abs(got[i]! - value) <= bound[i]!));
    expect(wrong === -1 ? 'equal' : `${what}: at ${wrong} got ${got[wrong]}, expected ${expected[wrong]}`).toBe(
      'equal',
    );
  }
});

test('what does not fit is refused', () => {
  const f16 = formatByName('f16');
  const weight = (rows: number, k: number) =>
    uploadWeight(gpu, f16, rows, k, { data: new Uint8Array(2 * rows * k) }, 'zeros');
  const [base, left] = [weight(6, 4), weight(6, 2)];
  const view = (floats: number) => ({ buffer: gpu.memory.allocate(4 * floats), size: 4 * floats });
  const sum = { x: view(4), base, left, inner: view(2), rows: [6], y: view(6), lanes: 1 };
  expect(() => sumLinearStep(sum)).not.toThrow();
  expect(() => sumLinearStep({ ...sum, rows: [5] })).toThrow(ArgumentError);
  expect(() => sumLinearStep({ ...sum, left: weight(5, 2) })).toThrow(ArgumentError);
  expect(() => sumLinearStep({ ...sum, inner: view(1) })).toThrow(ArgumentError);
  expect(() => sumLinearStep({ ...sum, rows: [1, 1, 2, 2], inner: view(8) })).toThrow(ArgumentError);
});
