import { expect, test } from 'vitest';
import { FormatError } from '../../../src/errors.ts';
import { listWords } from '../../../src/formats/block-layout.ts';
import { blocksFormat, resizedFormat } from '../../../src/formats/blocks.ts';
import { formatByName } from '../../../src/formats/registry.ts';

const blocks = (values: string) =>
  blocksFormat(formatByName(values), { block: { rows: 16, columns: 32 }, rows: 64, k: 128, kept: 4 });

test('a format of another size keeps as large a share of its blocks', () => {
  // 4 of 4 x 4; then of 2 x 3, whose last blocks are cut, and of 1.
  expect(resizedFormat(blocks('q8_0'), 20, 70).blocks).toMatchObject({ rows: 20, k: 70, kept: 2 });
  expect(resizedFormat(blocks('q8_0'), 2048, 8192).blocks).toMatchObject({
    rows: 2048,
    k: 8192,
    kept: (128 * 256) / 4,
  });
  expect(resizedFormat(blocks('q8_0'), 8, 32).blocks).toMatchObject({ kept: 1 });
  expect(resizedFormat(blocks('q8_0'), 64, 128)).toBe(blocks('q8_0'));
  expect(resizedFormat(formatByName('q4_0'), 5, 32)).toBe(formatByName('q4_0'));
});

test('blocks that would be filled up with what is not 0 have no such size', () => {
  expect(resizedFormat(blocks('q4_1'), 32, 64).name).toBe('q4_1@block:16x32:75%');
  expect(() => resizedFormat(blocks('q4_1'), 32, 80)).toThrow(FormatError);
});

test('rows of blocks are taken in the order of their work: those with most blocks first, of equal ones the first', () => {
  const lists = { rowStarts: Uint32Array.of(0, 1, 4, 4, 7), columns: Uint32Array.of(2, 0, 1, 3, 1, 2, 3) };
  expect([...listWords(lists).subarray(0, 4)]).toEqual([1, 3, 0, 2]);
});
