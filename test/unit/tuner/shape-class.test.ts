import { expect, test } from 'vitest';
import { checkRow } from '../../../src/formats/checks.ts';
import { formatByName, formats } from '../../../src/formats/registry.ts';
import { attentionClass, classKey, linearClass } from '../../../src/tuner/shape-class.ts';
import { randomSource } from '../../gpu/random.ts';

test('stands for shapes that are near, of every format, and for itself', () => {
  const random = randomSource(1);
  const any = (most: number) => Math.ceil(most ** random());
  for (const format of formats) {
    for (let i = 0; i < 40; i++) {
      const need = { kind: 'linear', format, rows: any(200_000), k: any(30_000), tokens: any(5000) } as const;
      const one = linearClass(need);
      expect(() => checkRow(format, one.k, 'row')).not.toThrow();
      expect(linearClass(one)).toEqual(one);
      expect(one.tokens).toBeGreaterThanOrEqual(Math.min(512, need.tokens));
      expect(one.tokens).toBeLessThan(Math.max(2, 2 * need.tokens));
      // Half a step between 2 and 3, or a step where 3 · 128 is no multiple of the format's block.
      const near = (size: number, of: number) => Math.max(size / of, of / size);
      if (need.rows >= 64 && need.rows <= 16384) expect(near(one.rows, need.rows)).toBeLessThan(1.25);
      if (need.k >= 512 && need.k <= 16384) expect(near(one.k, need.k)).toBeLessThan(1.25);
      expect(one.rows).toBeLessThanOrEqual(16384);
      // Whether kernels load four at a time is part of the class where the format allows both.
      if (need.k % 4 === 0) expect(one.k % 4).toBe(0);
      else if (format.name === 'f32') expect(one.k % 4).not.toBe(0);
    }
  }
});

test('names classes apart', () => {
  const q4 = formatByName('q4_0');
  const of = (rows: number, k: number, tokens: number) =>
    classKey(linearClass({ kind: 'linear', format: q4, rows, k, tokens }));
  expect(of(4096, 13000, 1)).toBe('q4_0 4096x12288, 1 tokens');
  expect(of(4000, 11264, 1)).toBe('q4_0 4096x12288, 1 tokens');
  expect(of(4096, 13000, 3)).toBe('q4_0 4096x12288, 4 tokens');
  expect(of(128_256, 4096, 5)).toBe('q4_0 16384x4096, 8 tokens');
  expect(classKey(linearClass({ kind: 'linear', format: formatByName('f32'), rows: 100, k: 1001, tokens: 700 }))).toBe(
    'f32 96x1025, 512 tokens',
  );
  const heads = { kind: 'attention', heads: 32, kvHeads: 8, headDim: 64, cache: 'f32' } as const;
  expect(classKey(attentionClass({ ...heads, tokens: 1, positions: 40_000 }))).toBe(
    'attention 32/8x64 over f32, 1 tokens, 16384 positions',
  );
  expect(classKey(attentionClass({ ...heads, tokens: 100, positions: 100 }))).toBe(
    'attention 32/8x64 over f32, 128 tokens, 128 positions',
  );
  expect(classKey(attentionClass({ ...heads, cache: 'int4', tokens: 1, positions: 100 }))).toBe(
    'attention 32/8x64 over int4, 1 tokens, 128 positions',
  );
});
