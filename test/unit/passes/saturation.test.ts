import { expect, test } from 'vitest';
import type { TensorInfo } from '../../../src/files/safetensors-read.ts';
import { contentBytes } from '../../../src/formats/layout.ts';
import { formatByName, formats } from '../../../src/formats/registry.ts';
import { countSaturated } from '../../../src/passes/saturation.ts';

const ROWS = 2;
const K = 256;

/** Counts in a matrix of waves with some values put in, quantized by the reference. */
function countIn(format: string, values: Readonly<Record<number, number>> = {}): number {
  const weights = Float32Array.from({ length: ROWS * K }, (_, i) => values[i] ?? Math.sin(i));
  const target = formatByName(format);
  const host = target.reference.quantize(weights, ROWS, K);
  const arrays = target.arrays.map((array) => host[array.name]!.subarray(0, contentBytes(array, ROWS, K)));
  const bytes = new Uint8Array(weights.buffer);
  const info: TensorInfo = { name: 'w', type: 'F32', shape: [ROWS, K], offset: 0, byteLength: bytes.byteLength };
  return countSaturated(target, info, bytes, arrays);
}

test.each(formats.map(({ name }) => name))('%s of small weights cuts nothing off', (name) => {
  expect(countIn(name)).toBe(0);
  expect(countIn(name, { 3: 2000, 40: -2000 })).toBe(0);
});

test.each(['q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0', 'int8-g32', 'int8-g32-asym', 'int4-g32', 'int4-g32-asym'])(
  '%s: blocks with weights far beyond their scales are counted, once each',
  (name) => {
    expect(countIn(name, { 3: 1e38, 4: -1e38, 300: -1e38 })).toBe(2);
  },
);

test.each(['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k', 'iq4_nl', 'iq4_xs'])(
  '%s: of blocks with two steps each counts once',
  (name) => {
    expect(countIn(name, { 3: 1e38, 4: -1e38, 300: -1e38 })).toBe(2);
  },
);

test.each(['tq1_0', 'tq2_0'])('%s: blocks with weights above the largest scale are counted', (name) => {
  expect(countIn(name, { 3: 70000, 300: -70000 })).toBe(2);
});

test('values that round to the largest are not cut off', () => {
  expect(countIn('f16', { 3: 65504, 4: 65519, 5: -65504 })).toBe(0);
  expect(countIn('f16', { 3: 65520, 4: -1e38, 511: 7e4 })).toBe(3);
  expect(countIn('bf16', { 3: 3.3895e38 })).toBe(0);
  expect(countIn('bf16', { 3: 3.4e38, 4: -3.4e38 })).toBe(2);
  expect(countIn('nvfp4', { 3: 2688, 40: 3136 })).toBe(0);
  expect(countIn('nvfp4', { 3: 3200, 5: -3200, 40: -1e38 })).toBe(2);
  expect(countIn('mxfp4', { 3: 3.4e38 })).toBe(0);
});
