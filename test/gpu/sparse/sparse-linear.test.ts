import { describe, expect, test } from 'vitest';
import { packedFormat } from '../../../src/formats/packed.ts';
import { type SparsePattern, sparseLayout } from '../../../src/formats/packed-layout.ts';
import { packSparse, unpackSparse } from '../../../src/formats/packed-reference.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { linear } from '../../../src/graph/reference/linear.ts';
import { linearSteps } from '../../../src/kernels/linear.ts';
import { sparseLinearSteps } from '../../../src/kernels/sparse-linear.ts';
import { sparseVariantsFor, usualSparseVariant } from '../../../src/kernels/sparse-linear-variants.ts';
import { allocateWeight, uploadWeight } from '../../../src/kernels/weight.ts';
import { SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench } from '../layers/bench.ts';
import { anyMasked } from './cases.ts';

const bench = openBench();

/** Patterns of every kind of index and band: not all, because each is pipelines to compile. Formats take turns with them, and patterns with variants. */
const PATTERNS: readonly SparsePattern[] = (
  [
    [2, 4, 1],
    [2, 4, 16],
    [2, 4, 4],
    [1, 8, 1],
    [3, 16, 8],
    [1, 2, 1],
    [15, 16, 1],
    [4, 8, 8],
    [5, 7, 4],
    [2, 3, 1],
  ] as const
).map(([keep, of, rows]) => ({ kind: 'n:m', keep, of, rows }));

/** |error| of an f32 dot product in any order: as many roundings as terms, of partial sums bounded by Σ|w x|. */
const EPSILON = 2 ** -24;

interface Product {
  readonly pattern: SparsePattern;
  readonly format: string;
  readonly most: number;
  readonly tokens: number;
}

/** A product with random weights, and what it has to be. */
function product(next: () => number, { pattern, format: name, most, tokens }: Product) {
  const format = formatByName(name);
  const { weights, mask, rows, k } = anyMasked(next, pattern, most);
  const layout = sparseLayout(pattern, format, rows, k);
  const packed = packSparse(weights, mask, rows, k, layout);
  const values = format.reference.quantize(packed.values, rows, layout.slots);
  const { columns } = packed;
  const host = { ...values, columns: new Uint8Array(columns.buffer) };
  const weight = uploadWeight(bench.gpu, packedFormat(format, pattern), rows, k, host, 'w');
  const x = filled(tokens * k, () => gaussian(next));
  const bias = next() < 0.3 ? filled(rows, () => gaussian(next)) : undefined;
  const stored = format.reference.dequantize(values, rows, layout.slots);
  const w = unpackSparse({ values: stored, columns }, rows, k, layout);
  const sizes = linear(x.map(Math.abs), w.map(Math.abs), k, bias?.map(Math.abs));
  return {
    ...{ weight, layout, x, bias, rows, k, tokens },
    wanted: linear(x, w, k, bias),
    allowed: (i: number) => sizes[i]! * EPSILON * (k + 8),
  };
}

const FORMATS = ['f32', 'f16', 'q8_0', 'q4_0'];

describe.each(FORMATS)('products with packed %s', (format) => {
  test('the 200 shapes: equal the f64 reference over the unpacked weights', async () => {
    const next = generator(format.length * 31 + 3);
    const errors = new Errors();
    const mine = PATTERNS.filter((_, i) => i % FORMATS.length === FORMATS.indexOf(format));
    const steps: Step[] = [];
    const checks: (() => Promise<void>)[] = [];
    for (let shape = 0; shape < SHAPES; shape++) {
      const pattern = mine[shape % mine.length]!;
      const tokens = shape % 4 < 2 ? 1 + Math.floor(4 * next()) : 1 + Math.floor(next() ** 2 * 150);
      const of = product(next, { pattern, format, most: shape % 10 === 0 ? 400 : 60, tokens });
      const variants = sparseVariantsFor(bench.gpu, of.layout).map(({ name }) => name);
      const turn = 3 * PATTERNS.indexOf(pattern) + (Math.floor(shape / mine.length) % 3);
      const variant = variants[turn % variants.length]!;
      const y = bench.room(tokens * of.rows);
      const bias = of.bias && bench.upload(of.bias);
      steps.push(
        ...sparseLinearSteps({ x: bench.upload(of.x), weight: of.weight, y, tokens, variant, ...(bias && { bias }) }),
      );
      checks.push(async () => {
        const got = await bench.floats(y, tokens * of.rows);
        const { keep, of: group, rows: band } = pattern;
        errors.compare(`${variant}, ${keep}:${group} by ${band}, ${of.rows}x${of.k}`, got, of.wanted, of.allowed);
        of.weight.release();
      });
    }
    await bench.gpu.scheduler.run(steps);
    for (const check of checks) await check();
    expect(errors.verdict(format)).toBe('');
    bench.release();
  });
});

test('every variant, added to the columns of a wider y', async () => {
  const next = generator(77);
  const errors = new Errors();
  const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4, rows: 4 };
  const tokens = 5;
  const of = product(next, { pattern, format: 'f32', most: 90, tokens });
  const width = of.rows + 7;
  const bias = of.bias && bench.upload(of.bias);
  const before = filled(tokens * width, (i) => (i % 17) - 8);
  const wanted = Float64Array.from(before);
  for (const [i, value] of of.wanted.entries()) wanted[Math.floor(i / of.rows) * width + 3 + (i % of.rows)]! += value;
  const worst = Math.max(...Array.from(of.wanted, (_, i) => of.allowed(i)));
  const runs = sparseVariantsFor(bench.gpu, of.layout).map(({ name: variant }) => {
    const y = bench.upload(before);
    const into = { start: 3, width };
    const args = {
      x: bench.upload(of.x),
      weight: of.weight,
      y,
      tokens,
      variant,
      into,
      adds: true,
      ...(bias && { bias }),
    };
    return { variant, y, steps: sparseLinearSteps(args) };
  });
  await bench.gpu.scheduler.run(runs.flatMap(({ steps }) => steps));
  for (const { variant, y } of runs) {
    errors.compare(variant, await bench.floats(y, tokens * width), wanted, () => worst + 8 * 2 ** -22);
  }
  expect(errors.verdict('added')).toBe('');
  of.weight.release();
  bench.release();
});

test('a weight split over several buffers computes as one', async () => {
  const limited = await openGpu({ device: bench.gpu.device, bindingLimit: 4096 });
  const next = generator(5);
  const pattern: SparsePattern = { kind: 'n:m', keep: 2, of: 4, rows: 16 };
  const f32 = formatByName('f32');
  const [rows, k] = [75, 64];
  const layout = sparseLayout(pattern, f32, rows, k);
  const weights = filled(rows * k, () => gaussian(next));
  const mask = new Uint32Array(rows * 2).fill(0x33333333);
  const { values, columns } = packSparse(weights, mask, rows, k, layout);
  const host = { data: new Uint8Array(values.buffer), columns: new Uint8Array(columns.buffer) };
  const weight = uploadWeight(limited, packedFormat(f32, pattern), rows, k, host, 'split');
  expect(weight.parts.length).toBeGreaterThan(2);
  const x = filled(3 * k, () => gaussian(next));
  const y = bench.room(3 * rows);
  await bench.gpu.scheduler.run(sparseLinearSteps({ x: bench.upload(x), weight, y, tokens: 3 }));
  const wanted = linear(x, unpackSparse({ values, columns }, rows, k, layout), k);
  for (const [i, value] of (await bench.floats(y, 3 * rows)).entries()) expect(value).toBeCloseTo(wanted[i]!, 4);
  weight.release();
  bench.release();
});

test('the usual variant fits, and what does not is refused', () => {
  const gpu = bench.gpu;
  const f32 = formatByName('f32');
  for (const pattern of PATTERNS) {
    const layout = sparseLayout(pattern, f32, 8, 32);
    const names = sparseVariantsFor(gpu, layout).map(({ name }) => name);
    for (const tokens of [1, 2, 3, 4, 5, 100]) expect(names).toContain(usualSparseVariant(gpu, { tokens }, layout));
  }
  const single: SparsePattern = { kind: 'n:m', keep: 2, of: 4 };
  const weight = allocateWeight(gpu, packedFormat(f32, single), 8, 32, 'w');
  const view = bench.room(64);
  const step = (given: object) => () => sparseLinearSteps({ x: view, weight, y: view, tokens: 2, ...given });
  expect(step({})).not.toThrow();
  expect(step({ variant: 'shufle-1-1' })).toThrow('Did you mean "shuffle-1-1"?');
  expect(step({ variant: 'band-tile-4' })).toThrow("band-tile-4 can't multiply with 2:4.");
  expect(step({ tokens: 3 })).toThrow('"x" needs 384 bytes');
  expect(step({ bias: { buffer: view.buffer, size: 28 } })).toThrow('"bias" needs 32 bytes');
  const dense = allocateWeight(gpu, f32, 8, 32, 'dense');
  expect(step({ weight: dense })).toThrow('a weight in f32 is not packed');
  expect(() => linearSteps({ x: view, weight, y: view, tokens: 2 })).toThrow('use sparseLinearSteps');
  dense.release();
  weight.release();
  bench.release();
});
