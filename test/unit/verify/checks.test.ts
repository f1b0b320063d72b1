import { expect, test } from 'vitest';
import { CONTROL_LEAST, checksOf, KERNEL_ERROR_MOST, passes } from '../../../src/verify/checks.ts';
import type { Report } from '../../../src/verify/report.ts';

const tensor = (original: number, compressed: number): Report['size']['tensors'][number] => ({
  name: 't',
  shape: [4],
  format: 'f32',
  original: 16,
  compressed: 16,
  onGpu: { original: 16, compressed: 16 },
  relativeError: null,
  squaredError: null,
  nonFinite: { original, compressed },
});
const good = {
  tensors: [tensor(0, 0)],
  kernels: { maxRelativeError: KERNEL_ERROR_MOST, nonFinite: [] },
  badLogits: 0,
  controlRatio: CONTROL_LEAST,
};
const failed = (figures: Parameters<typeof checksOf>[0]) =>
  checksOf(figures)
    .filter(({ passed }) => !passed)
    .map(({ name }) => name);

test('the limits themselves pass', () => {
  expect(failed(good)).toEqual([]);
  expect(checksOf(good).map(({ name }) => name)).toEqual([
    'finite weights',
    'finite values',
    'kernel error',
    'finite logits',
    'control',
  ]);
});

test.each<[string, Partial<Parameters<typeof checksOf>[0]>, string[]]>([
  ['a weight of the original', { tensors: [tensor(1, 0)] }, ['finite weights']],
  ['a weight of the compressed model', { tensors: [tensor(0, 0), tensor(0, 2)] }, ['finite weights']],
  ['a kernel', { kernels: { maxRelativeError: 1.01 * KERNEL_ERROR_MOST, nonFinite: [] } }, ['kernel error']],
  [
    'a value that is no number',
    { kernels: { maxRelativeError: null, nonFinite: ['layers.0.q'] } },
    ['finite values', 'kernel error'],
  ],
  ['a logit', { badLogits: 1 }, ['finite logits']],
  ['a control as good as the model', { controlRatio: 0.99 * CONTROL_LEAST }, ['control']],
])('%s fails its check, and that the report', (_, figures, names) => {
  expect(failed({ ...good, ...figures })).toEqual(names);
  expect(passes({ checks: checksOf({ ...good, ...figures }), gate: null })).toBe(false);
});

test('what could not be measured does not pass', () => {
  expect(failed({ ...good, kernels: null })).toEqual(['finite values', 'kernel error']);
  expect(failed({ ...good, controlRatio: null })).toEqual(['control']);
});

test('what does not apply is not checked, and a gate decides too', () => {
  const checks = checksOf({ tensors: [] });
  expect(checks.map(({ name }) => name)).toEqual(['finite weights']);
  expect(passes({ checks, gate: null })).toBe(true);
  const gate = { maxPerplexityIncrease: 0, increase: 1, passed: false, costliest: [] };
  expect(passes({ checks, gate })).toBe(false);
});
