import { expect, test } from 'vitest';
import { chosenCases } from '../../../bench/suite/run-suites.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { formats } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';

const gpu = {
  description: { software: true },
  features: new Set(['shader-f16']),
  selfTest: { multipliesPacked: true },
  limits: { maxStorageBufferBindingSize: 2 ** 30, maxBufferSize: 2 ** 30 },
  memory: { budget: Number.POSITIVE_INFINITY, bytesInUse: 0 },
} as unknown as Gpu;
const namesOf = (filter: string, quick: boolean, suites = ['linear']) =>
  chosenCases({ gpu, quick, suites, filter })
    .filter(({ suite }) => suite !== 'roofline')
    .map(({ suite, name }) => `${suite} ${name}`);

test('a quick run stays short', () => {
  expect(namesOf('', true, ['linear', 'attention', 'passes', 'model'])).toHaveLength(13 + 2 + 6 + 2);
});

test('a filter that fits usual cases gets those alone', () => {
  for (const quick of [true, false]) {
    const names = namesOf('q4_0', quick);
    expect(names.length).toBeGreaterThan(2);
    expect(names.filter((name) => !name.startsWith('linear q4_0 '))).toEqual([]);
  }
});

test('a filter reaches every format, and what is packed or rounds more', () => {
  for (const { name, activations } of formats) {
    if (activations !== 'static') expect(namesOf(`linear ${name} 2048x2048 batch 16`, true)).toHaveLength(1);
  }
  for (const form of ['q4_0@2:4', 'q8_0@2:4x16', 'f16@blocks-32x32-25%', 'q4_0, f16 sums', 'int4-g32, int8 inputs']) {
    expect(namesOf(`linear ${form} `, true), form).toHaveLength(3);
    expect(namesOf(`linear ${form} 4096x14336 batch 4`, false), form).toHaveLength(1);
  }
  expect(namesOf('@2:4', true).length).toBe(3 * 2 * 3);
});

test('what fits nothing is refused', () => {
  expect(() => namesOf('zzz', true)).toThrow(ArgumentError);
  expect(() => namesOf('zzz', true, ['roofline'])).toThrow('No case of roofline contains "zzz".');
  expect(() => namesOf('zzz', true, ['roofline', 'linear'])).toThrow(ArgumentError);
  // What the roofline has does not stand for a suite that is filtered.
  expect(() => namesOf('triad', true, ['linear'])).toThrow(ArgumentError);
  for (const suites of [['roofline'], ['roofline', 'linear']]) expect(namesOf('triad', true, suites)).toEqual([]);
  expect(() => namesOf('', true, ['linaer'])).toThrow(/linear/);
});
