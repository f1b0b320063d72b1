import { expect, test } from 'vitest';
import { batchWindows, indexesIn } from '../../../src/passes/embedding-batches.ts';

const window = (...tokens: number[]) => ({ tokens: Uint32Array.from(tokens) });

test('windows go together up to a number of distinct tokens, and none is cut', () => {
  const windows = [window(5, 5, 900), window(900, 5, 7), window(1, 2, 3, 4), window(4)];
  const batches = [...batchWindows(windows, 3)];
  expect(batches.map(({ rows }) => [...rows])).toEqual([
    [5, 7, 900],
    [1, 2, 3, 4],
  ]);
  expect(batches.map((batch) => batch.windows)).toEqual([windows.slice(0, 2), windows.slice(2)]);
  expect([...batchWindows([], 3)]).toEqual([]);
});

test('tokens become indexes of rows', () => {
  expect([...indexesIn(Uint32Array.of(5, 7, 900), Uint32Array.of(900, 5, 900, 7))]).toEqual([2, 0, 2, 1]);
});
