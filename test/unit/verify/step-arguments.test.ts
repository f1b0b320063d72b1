import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { type CompareLogitsArguments, compareLogitsStep, SCORE_FIELDS } from '../../../src/verify/compare-logits.ts';
import { copyStep } from '../../../src/verify/roofline-steps.ts';

const buffer = (size: number) => ({ size }) as GPUBuffer;
const view = (words: number) => ({ buffer: buffer(4 * words) });

test('logits are compared where sizes and buffers fit, and refused by name elsewhere', () => {
  const [tokens, size] = [3, 7];
  const fitting: CompareLogitsArguments = {
    ...{ original: view(21), compressed: view(30), targets: view(3), scores: view(3 * SCORE_FIELDS) },
    ...{ tokens, start: 0, size },
  };
  const { bindings, grid } = compareLogitsStep(fitting);
  expect(bindings.map((binding) => binding.size)).toEqual([84, 84, 12, 12 * SCORE_FIELDS]);
  expect(grid).toEqual([3, 1, 1]);
  const refused: [Partial<CompareLogitsArguments>, RegExp][] = [
    [{ original: view(20) }, /"original" needs 84 bytes, its buffer has 80/],
    [{ compressed: view(20) }, /"compressed" needs 84 bytes/],
    [{ targets: view(2) }, /"targets" needs 12 bytes/],
    [{ scores: view(3 * SCORE_FIELDS - 1) }, /"scores" needs 132 bytes/],
    [{ tokens: 0 }, /tokens is 0/],
    [{ tokens: 65_536, size: 1 }, /65536 tokens; at most 65535/],
    [{ size: 1.5 }, /size is 1\.5/],
    [{ start: -1 }, /begins at -1/],
    [{ start: 2 ** 32 - 6 }, /begins at 4294967290/],
  ];
  for (const [change, message] of refused) {
    const attempt = () => compareLogitsStep({ ...fitting, ...change });
    expect(attempt).toThrow(ArgumentError);
    expect(attempt).toThrow(message);
  }
});

test('a copy binds just its bytes, which both buffers must have', () => {
  expect(copyStep(buffer(64), buffer(48), 48).bindings.map(({ size }) => size)).toEqual([48, 48]);
  for (const [from, to, bytes, message] of [
    [64, 64, 0, /copy: 0 bytes/],
    [64, 64, 24, /copy: 24 bytes; give a multiple of 16/],
    [32, 64, 48, /"source" needs 48 bytes, its buffer has 32/],
    [64, 32, 48, /"target" needs 48 bytes, its buffer has 32/],
  ] as const) {
    expect(() => copyStep(buffer(from), buffer(to), bytes)).toThrow(ArgumentError);
    expect(() => copyStep(buffer(from), buffer(to), bytes)).toThrow(message);
  }
});
