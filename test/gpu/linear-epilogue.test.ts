import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError } from '../../src/errors.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Step } from '../../src/gpu/kernel.ts';
import { geluMul } from '../../src/graph/reference/gelu-mul.ts';
import { linear } from '../../src/graph/reference/linear.ts';
import { siluMul } from '../../src/graph/reference/silu-mul.ts';
import { type LinearArguments, linearSteps } from '../../src/kernels/linear.ts';
import { linearVariantsFor } from '../../src/kernels/linear-variants.ts';
import { allocateWeight, uploadWeight } from '../../src/kernels/weight.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';
import { randomStored } from './random-stored.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** Every body, over formats that are dense, of blocks and of super-blocks; each variant is a pipeline to compile for each gate. */
const FORMATS: [string, string[]][] = [
  ['f32', ['vector-1', 'tile-8']],
  ['q4_0', ['vector-8', 'broadcast-2', 'staged-64']],
  ['q6_k', ['vector-1', 'tile-4', 'sliced-8']],
];

test.each(FORMATS)(
  '%s: a product into some columns, added to them, gated, equals the f64 reference',
  async (name, mine) => {
    const format = formatByName(name);
    const random = randomSource(name.length + 11);
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
    for (let n = 0; n < 200; n++) {
      const half = n % 10 === 0 ? upTo(300) : upTo(24);
      const k = format.kind === 'dense' ? (n % 3 === 0 ? 4 * upTo(40) : upTo(90)) : format.block * upTo(3);
      const tokens = n % 2 === 0 ? upTo(4) : upTo(30);
      const gate = ([undefined, 'silu', 'gelu'] as const)[n % 3];
      const rows = gate ? 2 * half : half;
      const adds = random() < 0.5;
      const into = random() < 0.5 ? { start: upTo(9) - 1, width: half + 8 + upTo(5) } : { start: 0, width: half };
      const possible = linearVariantsFor(gpu, { rows, k, tokens }).filter((one) => mine.includes(one.name));
      const { name: variant = 'tile-4' } = possible[upTo(possible.length) - 1] ?? {};
      const stored = randomStored(format, rows, k, random);
      const weight = uploadWeight(gpu, format, rows, k, stored, 'w');
      const x = floats(tokens * k);
      const bias = random() < 0.3 ? floats(rows) : undefined;
      const before = floats(tokens * into.width);
      const y = upload(before);
      steps.push(
        ...linearSteps({
          ...{ x: upload(x), weight, y, tokens, variant, adds, into },
          ...(bias && { bias: upload(bias) }),
          ...(gate && { gate }),
        }),
      );
      const w = format.reference.dequantize(stored, rows, k);
      const magnitude = linear(x.map(Math.abs), w.map(Math.abs), k, bias?.map(Math.abs));
      const product = linear(x, w, k, bias);
      const expected = Float64Array.from(before);
      const bound = new Float64Array(before.length);
      for (let token = 0; token < tokens; token++) {
        const row = product.subarray(token * rows, (token + 1) * rows);
        const [lower, upper] = [row.subarray(0, half), row.subarray(half)];
        const made = !gate ? row : gate === 'silu' ? siluMul(lower, upper) : geluMul(lower, upper);
        for (let i = 0; i < half; i++) {
          const at = token * into.width + into.start + i;
          expected[at] = made[i]! + (adds ? before[at]! : 0);
          // k roundings of partial sums. The activations' slope is below 1.2 and their size below that of their argument.
          const error = (j: number) => magnitude[token * rows + j]! * 2 ** -24 * (k + 8);
          bound[at] = gate
            ? 1.2 * (error(i) * Math.abs(upper[i]!) + error(half + i) * (Math.abs(lower[i]!) + error(i))) +
              16 * 2 ** -24 * Math.abs(made[i]!)
            : error(i);
          if (adds) bound[at]! += 2 ** -23 * (Math.abs(before[at]!) + Math.abs(made[i]!));
        }
      }
      const what = `${rows}x${k} by ${tokens}, ${variant}, ${gate}, ${adds ? 'added ' : ''}at ${into.start} of ${into.width}`;
      checks.push({ y: y.buffer, expected, bound, what });
    }
    await gpu.scheduler.run(steps);
    for (const { y, expected, bound, what } of checks) {
      const got = new Float32Array((await gpu.readBack(y, 0, expected.length * 4)).buffer);
      // Columns that the product does not make keep what they hold, to the bit.
      const wrong = expected.findIndex((value, i) => !(Math.abs(got[i]! - value) <= bound[i]!));
      expect(wrong === -1 ? 'equal' : `${what}: at ${wrong} got ${got[wrong]}, expected ${expected[wrong]}`).toBe(
        'equal',
      );
    }
  },
);

test('columns and gates that do not fit are refused', () => {
  const weight = allocateWeight(gpu, formatByName('f32'), 7, 4, 'odd');
  const buffer = weight.parts[0]!.arrays[0]!.buffer;
  const product = (given: Partial<LinearArguments>) => () =>
    linearSteps({ x: { buffer, size: 16 }, weight, y: { buffer, size: 28 }, tokens: 1, ...given });
  expect(product({})).not.toThrow();
  expect(product({ gate: 'silu' })).toThrow('an even number of rows, not 7 in 1');
  for (const into of [
    { start: 1, width: 7 },
    { start: -1, width: 9 },
    { start: 0, width: 6 },
    { start: 0.5, width: 9 },
  ]) {
    expect(product({ into }), JSON.stringify(into)).toThrow(ArgumentError);
  }
  expect(product({ into: { start: 1, width: 8 } })).toThrow('"y" needs 32 bytes');
  weight.release();
});
