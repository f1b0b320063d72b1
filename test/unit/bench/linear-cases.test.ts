import { expect, test } from 'vitest';
import { linearCase, REGISTER_TILE } from '../../../bench/suite/suites/linear.ts';

test('a dense product of any size that whole tiles cover is timed beside the register tile, others beside dense f32', () => {
  for (const size of [64, 1024, 4096]) expect(linearCase('f32', size, size, size).baseline).toBe(REGISTER_TILE);
  for (const [name, n, k, batch] of [
    ['f32', 4096, 4096, 128],
    ['f32', 1000, 1000, 1000],
    ['q4_0', 1024, 1024, 1024],
  ] as const) {
    expect(linearCase(name, n, k, batch).baseline).not.toBe(REGISTER_TILE);
  }
});
