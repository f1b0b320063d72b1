import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, FormatError } from '../../src/errors.ts';
import { formatByName } from '../../src/formats/registry.ts';
import { activationScales, codeBytes, MAX_ROW, quantizeRow } from '../../src/formats/w8a8.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView, Step } from '../../src/gpu/kernel.ts';
import { integerSums } from '../../src/graph/reference/integer-linear.ts';
import {
  type IntegerActivations,
  integerLinearSteps,
  integerVariants,
  quantizeActivationsStep,
} from '../../src/kernels/integer-linear.ts';
import { linearVariantsFor } from '../../src/kernels/linear-variants.ts';
import { allocateWeight, uploadWeight } from '../../src/kernels/weight.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

const format = formatByName('w8a8');

/** A buffer whose rest, behind the contents, is poisoned. */
function uploaded(bytes: ArrayBufferView): BufferView {
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const buffer = gpu.memory.allocate(Math.max(4, view.length));
  const whole = new Uint8Array(buffer.size).fill(0xff);
  whole.set(view);
  gpu.upload(buffer, whole);
  return { buffer, size: view.length };
}

/** Rows of k codes, each padded to whole words. */
function padded(codes: Int8Array, k: number): Int8Array {
  const out = new Int8Array((codes.length / k) * codeBytes(k));
  for (let row = 0; row < codes.length / k; row++) out.set(codes.subarray(row * k, (row + 1) * k), row * codeBytes(k));
  return out;
}

const read = async (view: BufferView, bytes: number) => (await gpu.readBack(view.buffer, 0, bytes)).buffer;

interface Case {
  readonly rows: number;
  readonly k: number;
  readonly tokens: number;
  readonly variant: string;
  readonly codes: (next: () => number) => number;
}

/** Codes from ordinary ones to those whose sums are the largest there are. */
const CODES: readonly Case['codes'][] = [
  (next) => Math.floor(next() * 255) - 127,
  (next) => (next() < 0.5 ? 127 : -127),
  () => 127,
  (next) => (next() < 0.9 ? 0 : -127),
];

function cases(next: () => number, count: number): Case[] {
  const upTo = (n: number) => 1 + Math.floor(next() * n);
  return Array.from({ length: count }, (_, i) => {
    const shape = {
      rows: i % 10 === 0 ? upTo(600) : upTo(40),
      k: i % 20 === 3 ? upTo(5000) : upTo(300),
      tokens: i % 2 === 0 ? upTo(4) : upTo(i % 10 === 1 ? 90 : 40),
    };
    const possible = linearVariantsFor(gpu, shape, integerVariants);
    return { ...shape, variant: possible[upTo(possible.length) - 1]!.name, codes: CODES[i % CODES.length]! };
  });
}

const codesOf = (count: number, draw: Case['codes'], next: () => number) =>
  Int8Array.from({ length: count }, () => draw(next));

/** A product as a step, and how to see its result. */
function product(options: {
  rows: number;
  k: number;
  tokens: number;
  x: IntegerActivations;
  w: Int8Array;
  scales?: Float32Array;
  bias?: Float32Array;
  packed: boolean;
  variant?: string;
  sums?: boolean;
}) {
  const { rows, k, tokens, w, scales = new Float32Array(rows).fill(1), bias, ...rest } = options;
  const arrays = { codes: new Uint8Array(padded(w, k).buffer), scales: new Uint8Array(scales.buffer) };
  const weight = uploadWeight(gpu, format, rows, k, arrays, 'w');
  const y = uploaded(new Uint8Array(4 * tokens * rows).fill(0xa5));
  const steps = integerLinearSteps({ ...rest, weight, y, tokens, ...(bias && { bias: uploaded(bias) }) });
  return { steps, y, bytes: 4 * tokens * rows };
}

describe.each([true, false])('products of integers, packed: %s', (packed) => {
  const multiplied = () => ({ packed: packed && gpu.selfTest!.multipliesPacked });

  test('sums are exact, 240 shapes', async () => {
    const next = randomSource(packed ? 3 : 4);
    const made: { steps: Step[]; y: BufferView; bytes: number; wanted: Int32Array; what: string }[] = [];
    for (const { rows, k, tokens, variant, codes } of cases(next, 240)) {
      const x = codesOf(tokens * k, codes, next);
      const w = codesOf(rows * k, codes, next);
      const views = { codes: uploaded(padded(x, k)), scales: uploaded(new Float32Array(tokens)) };
      const given = { rows, k, tokens, x: views, w, variant, sums: true, ...multiplied() };
      made.push({ ...product(given), wanted: integerSums(x, w, k), what: `${rows}x${k} by ${tokens}, ${variant}` });
    }
    await gpu.scheduler.run(made.flatMap(({ steps }) => steps));
    for (const { y, bytes, wanted, what } of made) {
      const got = new Int32Array(await read(y, bytes));
      const at = wanted.findIndex((sum, i) => got[i] !== sum);
      expect(at < 0 ? 'equal' : `${what}: at ${at} got ${got[at]}, expected ${wanted[at]}`).toBe('equal');
    }
  });

  test('the longest row does not overflow, whatever a file holds for codes', async () => {
    const k = MAX_ROW;
    expect(k).toBe(132_104);
    for (const tokens of [1, 5]) {
      const x = new Int8Array(tokens * k).fill(127);
      const w = new Int8Array(2 * k).fill(-128).fill(127, k);
      const views = { codes: uploaded(padded(x, k)), scales: uploaded(new Float32Array(tokens)) };
      const { steps, y, bytes } = product({ rows: 2, k, tokens, x: views, w, sums: true, ...multiplied() });
      await gpu.scheduler.run(steps);
      expect([...new Int32Array(await read(y, bytes)).subarray(0, 2)]).toEqual([-128 * 127 * k, 127 * 127 * k]);
    }
    const long = { rows: 1, k: k + 1, tokens: 1, w: new Int8Array(k + 1), ...multiplied() };
    const nothing = { codes: uploaded(new Uint8Array(4)), scales: uploaded(new Uint8Array(4)) };
    expect(() => product({ ...long, x: nothing })).toThrow(FormatError);
    expect(() => product({ ...long, x: nothing })).toThrow(/up to 132104/);
  });

  test('what fills the last word of a weight is not read as a weight', async () => {
    const [k, tokens] = [5, 6];
    const x = {
      codes: uploaded(padded(new Int8Array(tokens * k).fill(1), k)),
      scales: uploaded(new Float32Array(tokens)),
    };
    const arrays = { codes: new Uint8Array(8).fill(1), scales: new Uint8Array(4) };
    const weight = uploadWeight(gpu, format, 1, k, arrays, 'w');
    const y = uploaded(new Uint8Array(4 * tokens));
    await gpu.scheduler.run(integerLinearSteps({ x, weight, y, tokens, sums: true, ...multiplied() }));
    expect([...new Int32Array(await read(y, 4 * tokens))]).toEqual(Array(tokens).fill(k));
  });

  test('results are sums times both scales, and bias: within three roundings', async () => {
    const next = randomSource(8);
    for (const tokens of [1, 3, 21]) {
      const [rows, k] = [37, 203];
      const x = codesOf(tokens * k, CODES[0]!, next);
      const w = codesOf(rows * k, CODES[0]!, next);
      const floats = (n: number) => Float32Array.from({ length: n }, () => next() * 0.1);
      const [scales, tokenScales, bias] = [floats(rows), floats(tokens), floats(rows)];
      const views = { codes: uploaded(padded(x, k)), scales: uploaded(tokenScales) };
      const { steps, y, bytes } = product({ rows, k, tokens, x: views, w, scales, bias, ...multiplied() });
      await gpu.scheduler.run(steps);
      const got = new Float32Array(await read(y, bytes));
      const sums = integerSums(x, w, k);
      for (const [i, sum] of sums.entries()) {
        const scaled = sum * tokenScales[Math.floor(i / rows)]! * scales[i % rows]!;
        const wanted = scaled + bias[i % rows]!;
        expect(Math.abs(got[i]! - wanted)).toBeLessThanOrEqual(
          2 ** -24 * (3 * Math.abs(scaled) + Math.abs(wanted)) * 1.01,
        );
      }
    }
  });

  test('a token that is not finite makes results that are not finite, and leaves the others alone', async () => {
    const [rows, k, tokens] = [9, 70, 6];
    const x = new Float32Array(tokens * k).fill(0.5);
    x[k + 3] = Number.NaN;
    x[2 * k] = Number.POSITIVE_INFINITY;
    x[4 * k - 1] = Number.NEGATIVE_INFINITY;
    const to = { codes: uploaded(new Int8Array(tokens * codeBytes(k))), scales: uploaded(new Float32Array(tokens)) };
    const { steps, y, bytes } = product({
      rows,
      k,
      tokens,
      x: to,
      w: new Int8Array(rows * k).fill(1),
      ...multiplied(),
    });
    await gpu.scheduler.run([quantizeActivationsStep({ x: uploaded(x), to, tokens, k }), ...steps]);
    const got = new Float32Array(await read(y, bytes));
    for (let token = 0; token < tokens; token++) {
      const row = got.subarray(token * rows, (token + 1) * rows);
      expect(row.some(Number.isFinite)).toBe(token === 0 || token > 3);
      expect(row.every(Number.isFinite)).toBe(token === 0 || token > 3);
    }
  });
});

/** Kinds of activations, from ordinary ones to those on the edges of the rule. */
const VALUES: readonly ((next: () => number) => () => number)[] = [
  (next) => () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  (next) => () => (next() < 0.02 ? 100 : 0.01) * (next() - 0.5),
  // Ties between codes, or a step of f32 beside them.
  (next) => {
    const scale = 2 ** Math.floor(next() * 40 - 20) * (1 + Math.floor(next() * 64) / 64);
    return () =>
      Math.fround((Math.floor(next() * 255) - 127 + 0.5) * scale * (1 + (Math.floor(next() * 3) - 1) * 2 ** -23));
  },
  (next) => () => (next() < 0.5 ? 0 : -0),
  (next) => {
    const exponent = Math.floor(next() * 275) - 149;
    return () => Math.fround((next() * 2 - 1) * 2 ** exponent);
  },
  () => () => 3.4028234663852886e38,
  () => () => 2 ** -100,
  () => () => Math.fround(2 ** -100 * (1 - 2 ** -24)),
  (next) => () => (next() < 0.02 ? Number.NaN : next() < 0.01 ? Number.NEGATIVE_INFINITY : 1),
];

test.each([
  ['measured', [undefined]],
  ['given', [0.013, 1, -0.5, 0, 2 ** -107, 2 ** -108, 2 ** 119, 2 ** 120, Number.POSITIVE_INFINITY, Number.NaN, 1e-42]],
] as const)('activations with a scale that is %s equal the reference bit for bit, 220 shapes', async (_, givens) => {
  const next = randomSource(5);
  const differences: string[] = [];
  for (let shape = 0; shape < 220; shape++) {
    const tokens = 1 + Math.floor(next() ** 2 * 12);
    const k = 1 + Math.floor(next() ** 2 * 600);
    const given = givens[shape % givens.length];
    const x = new Float32Array(tokens * k);
    const wantedCodes = new Int8Array(tokens * codeBytes(k));
    const wantedScales = new Float32Array(tokens);
    for (let token = 0; token < tokens; token++) {
      const draw = VALUES[Math.floor(next() * VALUES.length)]!(next);
      const row = x.subarray(token * k, (token + 1) * k).map(draw);
      x.set(row, token * k);
      const codes = wantedCodes.subarray(token * codeBytes(k), token * codeBytes(k) + k);
      wantedScales[token] = quantizeRow(row, codes, given === undefined ? undefined : Math.fround(given));
    }
    const to = {
      codes: uploaded(new Uint8Array(tokens * codeBytes(k)).fill(0xa5)),
      scales: uploaded(new Uint8Array(4 * tokens).fill(0xa5)),
    };
    const scale = given === undefined ? undefined : uploaded(Float32Array.of(given));
    const threads = [1, 8, 64, 256][shape % 4]!;
    await gpu.scheduler.run([
      quantizeActivationsStep({ x: uploaded(x), to, tokens, k, threads, ...(scale && { scale }) }),
    ]);
    const codes = new Int8Array(await read(to.codes, tokens * codeBytes(k)));
    const scales = new Float32Array(await read(to.scales, 4 * tokens));
    const at = wantedCodes.findIndex((code, i) => codes[i] !== code);
    if (at >= 0)
      differences.push(`${tokens} x ${k}, given ${given}: code ${at} is ${codes[at]}, not ${wantedCodes[at]}`);
    const bad = wantedScales.findIndex((value, i) => !Object.is(value + 0, scales[i]! + 0));
    if (bad >= 0) differences.push(`${tokens} x ${k}, given ${given}: scale ${scales[bad]}, not ${wantedScales[bad]}`);
  }
  expect(differences).toEqual([]);
});

test('the stored scale of activations is that of their largest magnitude', () => {
  const scales = new Float32Array(activationScales(12.7, 3).buffer);
  expect([...scales]).toEqual(Array(3).fill(Math.fround(12.7 / 127)));
});

test('what does not fit is refused before anything runs', () => {
  const weight = allocateWeight(gpu, format, 8, 18, 'small');
  const view = (bytes: number) => ({ buffer: weight.parts[0]!.arrays[0]!.buffer, size: bytes });
  const x = { codes: view(20), scales: view(4) };
  const steps = (given: Partial<Parameters<typeof integerLinearSteps>[0]>) => () =>
    integerLinearSteps({ x, weight, y: view(32), tokens: 1, packed: true, ...given });
  expect(steps({})).not.toThrow();
  const dense = allocateWeight(gpu, formatByName('f32'), 8, 18, 'dense');
  for (const wrong of [
    { x: { ...x, codes: view(16) } },
    { x: { ...x, scales: view(0) } },
    { y: view(28) },
    { bias: view(28) },
    { tokens: 0 },
    { variant: 'vector-3' },
    { variant: 'vector-1', tokens: 5, x: { codes: view(100), scales: view(20) }, y: view(160) },
    { weight: dense },
  ]) {
    expect(steps(wrong), Object.keys(wrong).join()).toThrow(ArgumentError);
  }
  const quantize = (given: object) => () => quantizeActivationsStep({ x: view(72), to: x, tokens: 1, k: 18, ...given });
  expect(quantize({})).not.toThrow();
  expect(quantize({ x: view(68) })).toThrow(ArgumentError);
  expect(quantize({ k: 0 })).toThrow(ArgumentError);
  weight.release();
  dense.release();
});
