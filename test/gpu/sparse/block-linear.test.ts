import { describe, expect, test } from 'vitest';
import {
  type BlockLayout,
  type BlockLists,
  type BlockSize,
  blockLayout,
  listBlocks,
} from '../../../src/formats/block-layout.ts';
import { packBlocks, unpackBlocks } from '../../../src/formats/block-reference.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Step } from '../../../src/gpu/kernel.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { linear } from '../../../src/graph/reference/linear.ts';
import { blockLinearSteps } from '../../../src/kernels/block-linear.ts';
import { blockVariantsFor, usualBlockVariant } from '../../../src/kernels/block-linear-variants.ts';
import { allocateBlocks, uploadBlocks } from '../../../src/kernels/block-weight.ts';
import { gatherBlocksStep } from '../../../src/kernels/gather-blocks.ts';
import { maskWords } from '../../../src/kernels/mask-pattern.ts';
import { EVERYTHING, SHAPES } from '../formats-under-test.ts';
import { Errors, filled, gaussian, generator, openBench, size } from '../layers/bench.ts';

const bench = openBench();

/** Blocks of every kind: those that lanes share, columns, single rows, and sizes that fit nothing. Formats take turns with them. */
const BLOCKS: readonly BlockSize[] = (
  [
    [32, 32],
    [16, 16],
    [64, 16],
    [32, 48],
    [1, 8],
    [8, 4],
    [3, 5],
    [4, 7],
  ] as const
).map(([rows, columns]) => ({ rows, columns }));

const FORMATS = ['f32', 'f16', 'q8_0', 'q4_0'];

/** |error| of an f32 dot product in any order: as many roundings as terms, of partial sums bounded by Σ|w x|. */
const EPSILON = 2 ** -24;

/** Any blocks, of some matrices none and of others all, and in some rows none. */
function anyLists(next: () => number, down: number, across: number): BlockLists {
  const share = [0, 0.1, 0.25, 0.6, 1][Math.floor(next() * 5)]!;
  const rowStarts = new Uint32Array(down + 1);
  const columns: number[] = [];
  for (let row = 0; row < down; row++) {
    const here = next() < 0.2 ? 0 : share;
    for (let column = 0; column < across; column++) if (next() < here) columns.push(column);
    rowStarts[row + 1] = columns.length;
  }
  return { rowStarts, columns: Uint32Array.from(columns) };
}

/** The widest takes a minute to compile on a CPU. */
const variantsFor = (layout: BlockLayout) =>
  blockVariantsFor(bench.gpu, layout).filter(({ name }) => EVERYTHING || name !== 'broadcast-32');

interface Product {
  readonly block: BlockSize;
  readonly format: string;
  readonly most: number;
  readonly tokens: number;
}

/** A product with random blocks, and what it has to be. */
function product(next: () => number, { block, format: name, most, tokens }: Product) {
  const format = formatByName(name);
  const [rows, k] = [size(next, most), size(next, 2 * most)];
  const layout = blockLayout(block, format, rows, k);
  const lists = anyLists(next, layout.down, layout.across);
  const kept = lists.columns.length;
  const weights = filled(rows * k, () => gaussian(next) * 2 ** Math.floor(next() * 20 - 10));
  const values = format.reference.quantize(packBlocks(weights, lists, rows, k, layout), kept, layout.slots);
  const weight = uploadBlocks(bench.gpu, block, format, { rows, k }, { values, lists }, 'w');
  const w = unpackBlocks(format.reference.dequantize(values, kept, layout.slots), lists, rows, k, layout);
  const x = filled(tokens * k, () => gaussian(next));
  const bias = next() < 0.3 ? filled(rows, () => gaussian(next)) : undefined;
  const sizes = linear(x.map(Math.abs), w.map(Math.abs), k, bias?.map(Math.abs));
  return {
    ...{ weight, layout, lists, values, x, bias, rows, k, tokens },
    wanted: linear(x, w, k, bias),
    allowed: (i: number) => sizes[i]! * EPSILON * (k + 8),
  };
}

describe.each(FORMATS)('products with blocks of %s', (format) => {
  test('the 200 shapes: equal the f64 reference over the matrix that the blocks stand for', async () => {
    const next = generator(format.length * 17 + 5);
    const errors = new Errors();
    const mine = BLOCKS.filter((_, i) => i % FORMATS.length === FORMATS.indexOf(format));
    const steps: Step[] = [];
    const checks: (() => Promise<void>)[] = [];
    for (let shape = 0; shape < SHAPES; shape++) {
      const block = mine[shape % mine.length]!;
      const tokens = shape % 4 < 2 ? 1 + Math.floor(4 * next()) : 1 + Math.floor(next() ** 2 * 90);
      const of = product(next, { block, format, most: shape % 10 === 0 ? 300 : 90, tokens });
      const variants = variantsFor(of.layout);
      const turn = 5 * BLOCKS.indexOf(block) + (Math.floor(shape / mine.length) % 2);
      const variant = variants[turn % variants.length]!.name;
      const y = bench.room(tokens * of.rows);
      const bias = of.bias && bench.upload(of.bias);
      steps.push(
        ...blockLinearSteps({ x: bench.upload(of.x), weight: of.weight, y, tokens, variant, ...(bias && { bias }) }),
      );
      checks.push(async () => {
        const got = await bench.floats(y, tokens * of.rows);
        const what = `${variant}, ${block.rows}x${block.columns}, ${of.rows}x${of.k}, ${of.weight.kept} blocks`;
        errors.compare(what, got, of.wanted, of.allowed);
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
  const next = generator(78);
  const errors = new Errors();
  const tokens = 5;
  const of = product(next, { block: { rows: 32, columns: 32 }, format: 'f32', most: 120, tokens });
  const width = of.rows + 7;
  const before = filled(tokens * width, (i) => (i % 17) - 8);
  const wanted = Float64Array.from(before);
  for (const [i, value] of of.wanted.entries()) wanted[Math.floor(i / of.rows) * width + 3 + (i % of.rows)]! += value;
  const worst = Math.max(...Array.from(of.wanted, (_, i) => of.allowed(i)));
  const bias = of.bias && bench.upload(of.bias);
  const runs = variantsFor(of.layout).map(({ name: variant }) => {
    const y = bench.upload(before);
    const rest = { into: { start: 3, width }, adds: true, ...(bias && { bias }) };
    const x = bench.upload(of.x);
    return { variant, y, steps: blockLinearSteps({ x, weight: of.weight, y, tokens, variant, ...rest }) };
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
  const limited = await openGpu({ device: bench.gpu.device, bindingLimit: 8192 });
  const next = generator(6);
  const f32 = formatByName('f32');
  const [rows, k] = [75, 64];
  const block = { rows: 8, columns: 4 };
  const layout = blockLayout(block, f32, rows, k);
  const every = Array.from({ length: layout.down }, () => [...Array(layout.across).keys()]).flat();
  const rowStarts = Uint32Array.from({ length: layout.down + 1 }, (_, i) => i * layout.across);
  const lists = { rowStarts, columns: Uint32Array.from(every) };
  const weights = filled(rows * k, () => gaussian(next));
  const values = { data: new Uint8Array(packBlocks(weights, lists, rows, k, layout).buffer) };
  const weight = uploadBlocks(limited, block, f32, { rows, k }, { values, lists }, 'split');
  expect(weight.parts.length).toBeGreaterThan(2);
  const x = filled(3 * k, () => gaussian(next));
  const y = bench.room(3 * rows);
  await bench.gpu.scheduler.run(blockLinearSteps({ x: bench.upload(x), weight, y, tokens: 3 }));
  const wanted = linear(x, weights, k);
  for (const [i, value] of (await bench.floats(y, 3 * rows)).entries()) expect(value).toBeCloseTo(wanted[i]!, 4);
  weight.release();
  bench.release();
});

test('blocks are listed by the mask that keeps them, and gathered from the matrix', async () => {
  const next = generator(10);
  const f32 = formatByName('f32');
  for (let shape = 0; shape < SHAPES; shape++) {
    const block = BLOCKS[shape % BLOCKS.length]!;
    const [rows, k] = [size(next, 70), size(next, 140)];
    const layout = blockLayout(block, f32, rows, k);
    const lists = anyLists(next, layout.down, layout.across);
    const mask = new Uint32Array(maskWords(rows, k));
    const blocks: number[] = [];
    for (let down = 0; down < layout.down; down++) {
      for (const across of lists.columns.subarray(lists.rowStarts[down], lists.rowStarts[down + 1])) {
        blocks.push(down * layout.across + across);
        // One weight of a block is enough.
        const row = Math.min(rows - 1, down * block.rows + Math.floor(next() * block.rows));
        const column = Math.min(k - 1, across * block.columns + Math.floor(next() * block.columns));
        mask[row * Math.ceil(k / 32) + (column >> 5)]! |= 1 << (column & 31);
      }
    }
    expect(listBlocks(mask, rows, k, layout)).toEqual(lists);
    const kept = blocks.length;
    if (kept === 0) continue;
    const weights = filled(rows * k, () => gaussian(next));
    const to = bench.room(kept * layout.slots);
    const step = { from: bench.upload(weights), blocks: bench.upload(Uint32Array.from(blocks)), to };
    await bench.gpu.scheduler.run([gatherBlocksStep({ ...step, layout, rows, k, kept })]);
    expect(await bench.floats(to, kept * layout.slots)).toEqual(packBlocks(weights, lists, rows, k, layout));
    bench.release();
  }
});

test('the usual variant fits, and what does not is refused', () => {
  const { gpu } = bench;
  const f32 = formatByName('f32');
  for (const block of BLOCKS) {
    const layout = blockLayout(block, f32, 64, 64);
    const names = blockVariantsFor(gpu, layout).map(({ name }) => name);
    for (const tokens of [1, 2, 3, 4, 5, 100]) expect(names).toContain(usualBlockVariant(gpu, tokens, layout));
  }
  const block = { rows: 16, columns: 16 };
  expect(() => blockLayout({ rows: 0, columns: 4 }, f32, 8, 8)).toThrow('from 1 to 1024');
  expect(() => blockLayout(block, formatByName('w8a8'), 32, 32)).toThrow('values in w8a8');
  expect(() => blockLayout(block, formatByName('q4_1'), 32, 40)).toThrow("which q4_1 can't store");
  const lists = { rowStarts: Uint32Array.of(0, 1, 2), columns: Uint32Array.of(1, 0) };
  const make = (given: object) => allocateBlocks(gpu, block, f32, { rows: 32, k: 32 }, { ...lists, ...given }, 'w');
  expect(() => make({ rowStarts: Uint32Array.of(0, 2) })).toThrow('do not ascend from 0 to 2');
  expect(() => make({ rowStarts: Uint32Array.of(0, 2, 2) })).toThrow('the blocks of row 0');
  expect(() => make({ columns: Uint32Array.of(1, 2) })).toThrow('below column 2');
  const weight = make({});
  const view = bench.room(64);
  const step = (given: object) => () => blockLinearSteps({ x: view, weight, y: view, tokens: 2, ...given });
  expect(step({})).not.toThrow();
  expect(step({ variant: 'vektor-1' })).toThrow('Did you mean "vector-1"?');
  expect(step({ variant: 'broadcast-8' })).toThrow("broadcast-8 can't multiply with blocks of 16 x 16.");
  expect(step({ tokens: 3 })).toThrow('"x" needs 384 bytes');
  const host = { values: { data: new Uint8Array(4) }, lists };
  expect(() => uploadBlocks(gpu, block, f32, { rows: 32, k: 32 }, host, 'w')).toThrow('does not hold 2 blocks of 256');
  weight.release();
  bench.release();
});
