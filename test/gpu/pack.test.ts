import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, FormatError } from '../../src/errors.ts';
import type { Format, HostArrays } from '../../src/formats/format.ts';
import { arrayBytes } from '../../src/formats/layout.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView } from '../../src/gpu/kernel.ts';
import { gridStep } from '../../src/kernels/grid.ts';
import { packStep } from '../../src/kernels/pack.ts';
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
function releaseBuffers(): void {
  for (const buffer of buffers.splice(0)) gpu.memory.release(buffer);
}

const uploadAll = (format: Format, arrays: HostArrays) => format.arrays.map(({ name }) => uploaded(arrays[name]!));

/** Scale and offset of each group. */
async function gridOnGpu(format: Format, arrays: HostArrays, rows: number, k: number): Promise<Float32Array> {
  const bytes = (8 * rows * k) / format.grid!.group;
  const to = uploaded(new Uint8Array(bytes).fill(0xa5));
  await gpu.scheduler.run([gridStep({ format, from: uploadAll(format, arrays), to, rows, k })]);
  const found = new Float32Array((await gpu.readBack(to.buffer, 0, bytes)).slice().buffer);
  releaseBuffers();
  return found;
}

/** Packs codes into `arrays`, whose codes are overwritten with junk before. */
async function packOnGpu(format: Format, codes: Uint8Array, arrays: HostArrays, rows: number, k: number) {
  const to = format.arrays.map(({ name }) =>
    uploaded(holdsCodes(format, name) ? new Uint8Array(arrays[name]!.length).fill(0xa5) : arrays[name]!),
  );
  const given = new Uint8Array(Math.ceil(codes.length / 4) * 4);
  given.set(codes);
  await gpu.scheduler.run([packStep({ format, codes: uploaded(given), to, rows, k })]);
  const result: HostArrays = {};
  for (const [i, array] of format.arrays.entries()) {
    result[array.name] = await gpu.readBack(to[i]!.buffer, 0, arrayBytes(array, rows, k));
  }
  releaseBuffers();
  return result;
}

/** iq4_xs has two bits of its scales in `high`. */
const holdsCodes = (format: Format, name: string) => name === 'codes' || (name === 'high' && format.name !== 'iq4_xs');

/** scale · level + offset for each weight. */
function follow({ grid }: Format, scales: Float32Array, codes: Uint8Array): Float32Array {
  return Float32Array.from(codes, (code, i) => {
    const group = Math.floor(i / grid!.group);
    return scales[2 * group]! * grid!.levels[code]! + scales[2 * group + 1]!;
  });
}

/** The code whose level, under its scale and offset, is nearest to each value. */
function nearestCodes({ grid }: Format, scales: Float32Array, values: Float32Array): Uint8Array {
  return Uint8Array.from(values, (value, i) => {
    const group = Math.floor(i / grid!.group);
    const level = (value - scales[2 * group + 1]!) / scales[2 * group]!;
    return grid!.levels.reduce(
      (best, x, code) => (Math.abs(x - level) < Math.abs(grid!.levels[best]! - level) ? code : best),
      0,
    );
  });
}

/**
 * How far a weight may be from scale · level + offset. Products of scales in f16 or bf16 are exact in f32, and the sum rounds once. Scales in
 * f32 and zero points that are floats round more than once, and otherwise.
 */
function apart({ grid, integer }: Format, scales: Float32Array, code: number, i: number): number {
  if (!integer || integer.zero === 'middle' || (integer.zero === 'code' && integer.scale !== 'f32')) return 0;
  const group = Math.floor(i / grid!.group);
  return (Math.abs(scales[2 * group]! * grid!.levels[code]!) + Math.abs(scales[2 * group + 1]!)) * 2 ** -22;
}

const named = formatsUnderTest.filter((format) => format.grid).map((format, i) => [format.name, format, i] as const);

describe.each(named)('%s', (_name, format, i) => {
  const next = generator(500 + i);
  /** Arrays whose scales are far from zero, so that codes can be told from the values under them. */
  const ordinary = (rows: number, k: number) =>
    format.reference.quantize(
      Float32Array.from({ length: rows * k }, (_, at) => (at % 16 === 0 ? -2 : gaussian(next))),
      rows,
      k,
    );

  test(`weights follow from codes, and packing these gives back the arrays, ${SHAPES} shapes`, async () => {
    const wrong: string[] = [];
    for (const { rows, k, weights } of cases(format.block, 500 + i, false, SHAPES)) {
      const arrays = format.reference.quantize(weights, rows, k);
      const legible = ordinary(rows, k);
      for (const { name } of format.arrays) if (holdsCodes(format, name)) legible[name] = arrays[name]!;
      const plain = await gridOnGpu(format, legible, rows, k);
      const codes = nearestCodes(format, plain, format.reference.dequantize(legible, rows, k));
      const values = format.reference.dequantize(arrays, rows, k);
      const scales = await gridOnGpu(format, arrays, rows, k);
      const followed = follow(format, scales, codes);
      const at = values.findIndex((w, j) => !(Math.abs(w - followed[j]!) <= apart(format, scales, codes[j]!, j)));
      if (at >= 0) wrong.push(`${rows} x ${k}, weight ${at}: ${followed[at]} instead of ${values[at]}`);
      const packed = await packOnGpu(format, codes, arrays, rows, k);
      for (const { name } of format.arrays) {
        if (packed[name]!.some((byte, j) => byte !== arrays[name]![j])) wrong.push(`${rows} x ${k}: ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('every code is packed and read as its level', async () => {
    const [rows, k] = [3, 3 * format.block];
    const arrays = ordinary(rows, k);
    const codes = Uint8Array.from({ length: rows * k }, () => Math.floor(next() * format.grid!.levels.length));
    const packed = await packOnGpu(format, codes, arrays, rows, k);
    const scales = await gridOnGpu(format, packed, rows, k);
    expect(scales.every((x, j) => j % 2 === 1 || x !== 0)).toBe(true);
    const followed = follow(format, scales, codes);
    const values = format.reference.dequantize(packed, rows, k);
    const differs = (w: number, j: number) => !(Math.abs(w - followed[j]!) <= apart(format, scales, codes[j]!, j));
    expect(values.findIndex(differs)).toBe(-1);
  });
});

describe('bad input', () => {
  const view = (size: number): BufferView => ({ buffer: { size } as GPUBuffer });
  const q5 = formatByName('q5_0');
  const good = { format: q5, codes: view(64), to: [view(32), view(4), view(8)], rows: 1, k: 64, name: 'blk.0.q' };

  test('packing', () => {
    expect(() => packStep(good)).not.toThrow();
    expect(packStep(good).bindings.map(({ size }) => size)).toEqual([64, 32, 8]);
    expect(() => packStep({ ...good, format: formatByName('f16') })).toThrow(FormatError);
    expect(() => packStep({ ...good, k: 48 })).toThrow(FormatError);
    expect(() => packStep({ ...good, codes: view(60) })).toThrow(/"codes" needs 64 bytes, its buffer has 60/);
    expect(() => packStep({ ...good, to: good.to.slice(1) })).toThrow(ArgumentError);
    expect(() => packStep({ ...good, rows: 0 })).toThrow(ArgumentError);
  });

  test('scales and offsets', () => {
    const grid = { format: q5, from: good.to, to: view(16), rows: 1, k: 64 };
    expect(() => gridStep(grid)).not.toThrow();
    expect(() => gridStep({ ...grid, to: view(12) })).toThrow(/"grid" needs 16 bytes, its buffer has 12/);
    expect(() => gridStep({ ...grid, format: formatByName('bf16') })).toThrow(/do not follow from codes/);
  });
});
