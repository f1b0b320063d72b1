import { expect, test } from 'vitest';
import { importancePicture } from '../../../src/cli/size-tables.ts';

test('each unit has a bar, and a mark where it is gone', () => {
  expect(importancePicture([4, 1, 0, 2, -1], [1, 2])).toEqual(['█▂ ▄ ', ' ██  ']);
});

test('many units share cells, those that are worth most first: the mean of what they are worth, and how many are gone', () => {
  const importance = Array.from({ length: 768 }, (_, unit) => (unit < 384 ? 1 : 3));
  const [worth, gone] = importancePicture(
    importance,
    Array.from({ length: 390 }, (_, unit) => unit),
  );
  expect(worth).toBe(`${'█'.repeat(32)}${'▃'.repeat(32)}`);
  expect(gone).toBe(`▒${' '.repeat(31)}${'█'.repeat(32)}`);
});
