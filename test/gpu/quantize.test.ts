import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, FormatError, NonFiniteError } from '../../src/errors.ts';
import type { Format, HostArrays } from '../../src/formats/format.ts';
import { integerName, integerParameters } from '../../src/formats/integer-names.ts';
import { arrayBytes } from '../../src/formats/layout.ts';
import { formatByName, formats } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { type BufferView, readWrite, type Step } from '../../src/gpu/kernel.ts';
import {
  dequantizeStep,
  quantizeStep,
  quantizeSteps,
  scaleRoomBytes,
  throwIfNonFinite,
} from '../../src/kernels/quantize.ts';
import divideProbe from './divide_probe.wgsl';
import { FEWER, formatsUnderTest, SHAPES } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { anyFinite, cases, generator } from './weight-cases.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const buffers: GPUBuffer[] = [];
/** A buffer of exactly the contents; what lies behind in a pooled buffer is poisoned, so that tests see who reads it. */
function uploaded(bytes: Uint8Array): BufferView {
  const buffer = gpu.memory.allocate(bytes.length);
  buffers.push(buffer);
  const whole = new Uint8Array(buffer.size).fill(0xff);
  whole.set(bytes);
  gpu.upload(buffer, whole);
  return { buffer };
}
function releaseBuffers(): void {
  for (const buffer of buffers.splice(0)) gpu.memory.release(buffer);
}

async function readArrays(format: Format, views: readonly BufferView[], rows: number, k: number): Promise<HostArrays> {
  const arrays: HostArrays = {};
  for (const [i, array] of format.arrays.entries()) {
    arrays[array.name] = await gpu.readBack(views[i]!.buffer, 0, arrayBytes(array, rows, k));
  }
  return arrays;
}

/** Quantizes on the GPU; also says what `bad` held. */
async function quantizeOnGpu(source: Format, data: Uint8Array, format: Format, rows: number, k: number) {
  const to = format.arrays.map((array) => uploaded(new Uint8Array(arrayBytes(array, rows, k)).fill(0xa5)));
  const bad = uploaded(new Uint8Array(4));
  const room = scaleRoomBytes(format, rows, k);
  const scaleRoom = room > 0 ? uploaded(new Uint8Array(room).fill(0xa5)) : undefined;
  await gpu.scheduler.run(quantizeSteps({ source, from: uploaded(data), format, to, rows, k, bad, scaleRoom }));
  const arrays = await readArrays(format, to, rows, k);
  const flag = new Uint32Array((await gpu.readBack(bad.buffer, 0, 4)).buffer)[0]!;
  releaseBuffers();
  return { arrays, flag };
}

async function dequantizeOnGpu(format: Format, arrays: HostArrays, target: Format, rows: number, k: number) {
  const to = uploaded(new Uint8Array(arrayBytes(target.arrays[0]!, rows, k)).fill(0xa5));
  const bad = uploaded(new Uint8Array(4));
  const from = format.arrays.map((array) => uploaded(arrays[array.name]!));
  await gpu.scheduler.run([dequantizeStep({ format, from, target, to, rows, k, bad })]);
  const result = await readArrays(target, [to], rows, k);
  const flag = new Uint32Array((await gpu.readBack(bad.buffer, 0, 4)).buffer)[0]!;
  releaseBuffers();
  return { data: result.data!, flag };
}

/** The first difference between two sets of arrays, or undefined. */
function difference(actual: HostArrays, wanted: HostArrays): string | undefined {
  for (const [name, bytes] of Object.entries(wanted)) {
    const other = actual[name];
    if (other?.length !== bytes.length) return `${name}: ${other?.length} bytes instead of ${bytes.length}`;
    const at = bytes.findIndex((byte, i) => other[i] !== byte);
    if (at >= 0) return `${name}[${at}] is ${other[at]} instead of ${bytes[at]}`;
  }
  return undefined;
}

const named = formatsUnderTest.map((format, i) => [format.name, format, i] as const);
const f32 = formatByName('f32');
const halves = [formatByName('f16'), formatByName('bf16')];

describe.each(named)('%s', (_name, format, i) => {
  const dense = format.kind === 'dense';

  // One or the other: a test that never runs for a format would count as skipped.
  const [searched, exact] = format.searched ? [test, undefined] : [undefined, test];
  searched?.(`quantizing loses no more than the reference and is mostly the same, ${SHAPES} shapes`, async () => {
    let [same, all] = [0, 0];
    for (const { rows, k, weights } of cases(format.block, 1 + i)) {
      const wanted = format.reference.quantize(weights, rows, k);
      const { arrays, flag } = await quantizeOnGpu(f32, new Uint8Array(weights.buffer), format, rows, k);
      expect(flag).toBe(0);
      const values = (host: HostArrays) => format.reference.dequantize(host, rows, k);
      const [ours, reference] = [values(arrays), values(wanted)];
      for (let first = 0; first < weights.length; first += format.block) {
        const largest =
          weights.subarray(first, first + format.block).reduce((m, w) => Math.max(m, Math.abs(w)), 0) || 1;
        // In units of the largest weight: squares of huge ones overflow.
        const error = (from: Float32Array) => {
          let sum = 0;
          for (let at = first; at < first + format.block; at++) sum += ((from[at]! - weights[at]!) / largest) ** 2;
          return sum;
        };
        // A choice made otherwise costs up to 2^-14 of a sub-block's error; there are a few for each: 1.001 leaves room for sixteen.
        expect(error(ours)).toBeLessThanOrEqual(error(reference) * 1.001 + 1e-12);
        all++;
        if (ours.subarray(first, first + format.block).every((value, at) => value === reference[first + at])) same++;
      }
    }
    // Choices that close are rare but in blocks that are made of ties and of values that cancel, one in twenty of these at most.
    expect(same / all).toBeGreaterThan(0.95);
  });

  exact?.(`quantizing equals the reference bit for bit, ${SHAPES} shapes`, async () => {
    const differences: string[] = [];
    for (const { rows, k, weights } of cases(format.block, 1 + i, dense)) {
      const wanted = format.reference.quantize(weights, rows, k);
      const { arrays, flag } = await quantizeOnGpu(f32, new Uint8Array(weights.buffer), format, rows, k);
      const found = difference(arrays, wanted) ?? (flag ? `flag ${flag}` : undefined);
      if (found) differences.push(`${rows} x ${k}: ${found}`);
    }
    expect(differences).toEqual([]);
  });

  exact?.('quantizing from f16 and bf16 equals the reference', async () => {
    for (const source of FEWER ? [halves[i % 2]!] : halves) {
      for (const { rows, k, weights } of cases(format.block, 100 + i, dense).slice(0, 20)) {
        const stored = source.reference.quantize(weights, rows, k);
        const wanted = format.reference.quantize(source.reference.dequantize(stored, rows, k), rows, k);
        const { arrays } = await quantizeOnGpu(source, stored.data!, format, rows, k);
        expect(difference(arrays, wanted)).toBeUndefined();
      }
    }
  });

  test(`dequantizing equals the reference, ${SHAPES} shapes`, async () => {
    const differences: string[] = [];
    for (const { rows, k, weights } of cases(format.block, 200 + i, dense)) {
      const arrays = format.reference.quantize(weights, rows, k);
      const wanted = format.reference.dequantize(arrays, rows, k);
      const { data } = await dequantizeOnGpu(format, arrays, f32, rows, k);
      const actual = new Float32Array(data.buffer);
      // Exact: a product of 11 and at most 9 bits, to which a minimum is added with one rounding. Only the sign of zero is
      // the device's own.
      const at = wanted.findIndex((w, j) => w !== actual[j]);
      if (at >= 0) differences.push(`${rows} x ${k}, weight ${at}: ${actual[at]} instead of ${wanted[at]}`);
    }
    expect(differences).toEqual([]);
  });

  test('dequantizing to f16 and bf16 rounds the f32 value', async () => {
    for (const target of FEWER ? [halves[i % 2]!] : halves) {
      for (const { rows, k, weights } of cases(format.block, 300 + i, dense).slice(0, 20)) {
        const arrays = format.reference.quantize(weights, rows, k);
        const exact = format.reference.dequantize(arrays, rows, k);
        const wanted = target.reference.dequantize(target.reference.quantize(exact, rows, k), rows, k);
        const { data } = await dequantizeOnGpu(format, arrays, target, rows, k);
        const actual = target.reference.dequantize({ data }, rows, k);
        expect(wanted.findIndex((w, j) => w !== actual[j])).toBe(-1);
      }
    }
  });

  test('the first weight that is not finite is reported by its index', async () => {
    const k = 2 * format.block * (dense ? 37 : 1);
    const rows = 5;
    for (const [at, value] of [
      [k + 3, Number.NaN],
      [4 * k, Number.POSITIVE_INFINITY],
      [rows * k - 1, Number.NEGATIVE_INFINITY],
      [0, -Number.NaN],
    ] as const) {
      const weights = new Float32Array(rows * k).fill(0.5);
      weights[at] = value;
      weights[rows * k - 1] = value;
      const { flag } = await quantizeOnGpu(f32, new Uint8Array(weights.buffer), format, rows, k);
      expect(~flag >>> 0).toBe(at);
      expect(() => throwIfNonFinite(flag, k, 'blk.3.q')).toThrow(NonFiniteError);
      expect(() => throwIfNonFinite(flag, k, 'blk.3.q')).toThrow(
        `row ${Math.floor(at / k)}, column ${at % k} of tensor "blk.3.q"`,
      );
    }
    expect(() => throwIfNonFinite(0, k, 'w')).not.toThrow();
  });
});

test('division is correctly rounded', async () => {
  const next = generator(7);
  const count = 1 << 18;
  const a = new Float32Array(count);
  const b = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    // Of 1 by a function of its own.
    a[i] = i % 5 === 0 ? 1 : i % 3 === 0 ? Math.floor(next() * 4096) - 2048 : anyFinite(next);
    b[i] = i % 2 === 0 ? [127, 255, 15, 7, 3][i % 5]! : anyFinite(next);
    if (Math.abs(b[i]!) < 2 ** -126) b[i] = 3;
  }
  const quotients = uploaded(new Uint8Array(4 * count));
  const step: Step = {
    label: 'divide',
    kernel: { source: divideProbe },
    bindings: [
      readWrite(uploaded(new Uint8Array(a.buffer))),
      readWrite(uploaded(new Uint8Array(b.buffer))),
      readWrite(quotients),
    ],
    grid: [count / 64, 1, 1],
  };
  await gpu.scheduler.run([step]);
  const actual = new Float32Array((await gpu.readBack(quotients.buffer, 0, 4 * count)).buffer);
  releaseBuffers();
  const wrong: number[][] = [];
  for (let i = 0; i < count; i++) {
    const exact = Math.fround(a[i]! / b[i]!);
    const subnormal = Math.abs(exact) < 2 ** -126 || Math.abs(a[i]!) < 2 ** -126;
    const wanted = subnormal ? 0 : Number.isFinite(exact) ? exact : Math.sign(exact) * (2 - 2 ** -23) * 2 ** 127;
    // A quotient that rounds up to the smallest normal may come out as 0: it is documented as flushed.
    const atEdge = Math.abs(exact) === 2 ** -126 && actual[i] === 0;
    if (actual[i] !== wanted && !atEdge) wrong.push([a[i]!, b[i]!, actual[i]!, wanted]);
  }
  expect(wrong.slice(0, 5)).toEqual([]);
});

describe('bad input', () => {
  const view = (size: number): BufferView => ({ buffer: { size } as GPUBuffer });
  const arguments_ = (k: number) => ({
    source: f32,
    from: view(4 * k),
    format: formatByName('int4-g128'),
    to: [view(k / 2), view(Math.ceil(k / 256) * 4)],
    rows: 1,
    k,
    bad: view(4),
    name: 'blk.0.q',
  });

  test('a row that is no multiple of the block', () => {
    expect(() => quantizeStep(arguments_(192))).toThrow(FormatError);
    expect(() => quantizeStep(arguments_(256))).not.toThrow();
  });

  test('buffers that are too small, missing or not dense', () => {
    const good = arguments_(256);
    expect(() => quantizeStep({ ...good, from: view(1020) })).toThrow(/"data" needs 1024 bytes, its buffer has 1020/);
    expect(() => quantizeStep({ ...good, to: good.to.slice(1) })).toThrow(/takes 2 buffers \(codes, scales\), got 1/);
    expect(() => quantizeStep({ ...good, source: formatByName('q8_0') })).toThrow(ArgumentError);
    expect(() => quantizeStep({ ...good, rows: 0 })).toThrow(ArgumentError);
    expect(() => quantizeStep({ ...good, rows: 2 ** 30 })).toThrow(ArgumentError);
  });

  test('a method or an importance that the format does not offer', () => {
    const dense = { ...arguments_(256), format: formatByName('f16'), to: [view(512)] };
    expect(() => quantizeStep({ ...dense, method: 'search' })).toThrow(/Scales of f16 are not searched for/);
    expect(() => quantizeStep({ ...dense, importance: view(1024) })).toThrow(/f16 takes no importance/);
    expect(() => quantizeStep({ ...dense, method: 'rtn' })).not.toThrow();
  });
});

test('what a hostile file may hold for codes and scales is decoded like the reference, infinite scales are reported', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.constantFrom(...formats.filter((f) => f.kind === 'block')),
        fc.constantFrom(...integerParameters).map((parameters) => formatByName(integerName(parameters))),
      ),
      fc.integer(),
      async (format, seed) => {
        const next = generator(seed);
        const k = 2 * format.block;
        const arrays: HostArrays = {};
        for (const array of format.arrays) {
          arrays[array.name] = Uint8Array.from({ length: arrayBytes(array, 3, k) }, () => next() * 256);
        }
        const wanted = format.reference.dequantize(arrays, 3, k);
        const { data, flag } = await dequantizeOnGpu(format, arrays, f32, 3, k);
        const actual = new Float32Array(data.buffer);
        const bad = wanted.findIndex((w) => !Number.isFinite(w));
        // WGSL lets a device take subnormal numbers for zero. Of all scales only mxfp4's are, those of exponents 0 and 1, halved, and f32's.
        const smallScale = (i: number) => format.name === 'mxfp4' && arrays.scales![Math.floor(i / format.block)]! < 2;
        // Zero points in bf16 and f32 may be such as well, whatever the scale.
        const wide =
          format.wholeRows || (format.integer && format.integer.scale !== 'f16') || format.name.startsWith('nf4');
        const smallZero = wide && format.integer?.zero === 'float';
        const subnormal = (i: number) => smallScale(i) || smallZero || (wide && Math.abs(wanted[i]!) < 255 * 2 ** -126);
        // Scales of double quantization are sums, of which one part may be.
        const smallPart = (i: number) => format.single && Math.abs(actual[i]! - wanted[i]!) < 2 ** -125;
        const flushed = (i: number) => (actual[i] === 0 && subnormal(i)) || smallPart(i);
        const differs = (w: number, i: number) => w !== actual[i] && !flushed(i);
        if (bad < 0) expect([flag, wanted.findIndex(differs)]).toEqual([0, -1]);
        else expect(flag).not.toBe(0);
      },
    ),
    // The seed gives a block of mxfp4 whose scale is subnormal.
    { numRuns: 100, examples: [[formatByName('mxfp4'), 230322830]] },
  );
});
