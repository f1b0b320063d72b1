import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { checkImportance, checkOptions, methodSearches, searches, weighs } from '../../../src/formats/methods.ts';
import { formatByName, formats } from '../../../src/formats/registry.ts';

const plain = { name: 'plain' };
const choice = { name: 'choice', searches: true, weighs: true } as const;
const always = { name: 'always', searched: true } as const;

describe('methods', () => {
  test('what is asked for against what is offered', () => {
    expect([plain, choice, always].map(searches)).toEqual([false, true, true]);
    expect([plain, choice, always].map(weighs)).toEqual([false, true, false]);
    expect(methodSearches(plain)).toBe(false);
    expect(methodSearches(choice)).toBe(false);
    expect(methodSearches(choice, 'search', true)).toBe(true);
    expect(methodSearches(always)).toBe(true);
    expect(methodSearches(always, 'rtn')).toBe(true);
  });

  test.each([
    [() => methodSearches(plain, 'search'), 'Scales of plain are not searched for'],
    [() => methodSearches(plain, 'rtn', true), 'Quantizing to plain takes no importance'],
    [() => methodSearches(always, 'search', true), 'Quantizing to always takes no importance'],
    [() => methodSearches(choice, 'rtn', true), 'only with the method "search"'],
    [() => methodSearches(choice, 'gptq' as 'rtn'), 'no method "gptq"'],
    [() => checkImportance(new Float32Array(3), 4), 'has 3 numbers; there are 4 columns'],
    [() => checkImportance(Float32Array.of(0, -1), 2, 'blk.0.q'), 'for tensor "blk.0.q" of column 1 is -1'],
    [() => checkImportance(Float32Array.of(Number.NaN), 1), 'of column 0 is NaN'],
    [() => checkImportance(Float32Array.of(Number.POSITIVE_INFINITY), 1), 'of column 0 is Infinity'],
  ])('refused, %#', (what, message) => {
    expect(what).toThrow(ArgumentError);
    expect(what).toThrow(message);
  });

  test('an importance of zeros is none', () => {
    expect(checkOptions(choice, 2, { method: 'search', importance: new Float32Array(2) })).toEqual({ search: true });
    const importance = Float32Array.of(0, 1);
    expect(checkOptions(choice, 2, { method: 'search', importance })).toEqual({ search: true, importance });
  });

  test('every reference refuses what its format does not offer', () => {
    const weigh = { method: 'search', importance: Float32Array.of(-1) } as const;
    for (const format of formats) {
      const quantize = (options: object) => () =>
        format.reference.quantize(new Float32Array(format.block), 1, format.block, options);
      expect(quantize(weigh), format.name).toThrow(ArgumentError);
      if (!searches(format)) expect(quantize({ method: 'search' }), format.name).toThrow('are not searched for');
    }
    expect(searches(formatByName('q4_k'))).toBe(true);
    expect(searches(formatByName('f16'))).toBe(false);
  });
});
