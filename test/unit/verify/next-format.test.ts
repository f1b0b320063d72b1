import { expect, test } from 'vitest';
import { blocksFormat } from '../../../src/formats/blocks.ts';
import { packedFormat } from '../../../src/formats/packed.ts';
import { formatByName, formats } from '../../../src/formats/registry.ts';
import { nextFormat } from '../../../src/verify/next-format.ts';

test.each([
  ['q4_0', 'q5_0'],
  ['q4_1', 'q5_1'],
  ['q5_0', 'q8_0'],
  ['q5_1', 'q8_0'],
  ['int4-g32', 'int8-g32'],
  ['int4-g128', 'int8-g128'],
  ['int4-g64-asym', 'int8-g64-asym'],
  ['int2-g64-asym', 'int3-g64-asym'],
  ['int3-g256-fzp-bf16', 'int4-g256-fzp-bf16'],
  ['int3-row-f32', 'int4-row-f32'],
  ['q3_k', 'q4_k'],
  ['q4_k', 'q5_k'],
  ['q5_k', 'q6_k'],
  ['q6_k', 'q8_0'],
  ['nvfp4', 'q5_0'],
  ['mxfp4', 'q5_0'],
  ['q8_0', 'f16'],
  ['int8-g128-asym', 'f16'],
])('after %s comes %s', (now, next) => {
  expect(nextFormat(formatByName(now), formatByName('f16'))!.name).toBe(next);
});

test('above 8 bits there is what the original had, and nothing above that', () => {
  expect(nextFormat(formatByName('q8_0'), formatByName('bf16'))!.name).toBe('bf16');
  expect(nextFormat(formatByName('bf16'), formatByName('f32'))!.name).toBe('f32');
  expect(nextFormat(formatByName('f16'), formatByName('f16'))).toBeUndefined();
  expect(nextFormat(formatByName('q8_0'), undefined)).toBeUndefined();
});

test.each(['tq1_0', 'tq2_0'])('after %s, which is ternary, comes q3_k', (name) => {
  expect(nextFormat(formatByName(name), formatByName('f16'))!.name).toBe('q3_k');
});

test('after packed weights comes what follows their values', () => {
  const [q4, f16] = [formatByName('q4_0'), formatByName('f16')];
  expect(nextFormat(packedFormat(q4, { kind: 'n:m', keep: 2, of: 4 }), f16)!.name).toBe('q5_0');
  expect(nextFormat(packedFormat(f16, { kind: 'n:m', keep: 2, of: 4 }), f16)).toBeUndefined();
  const blocks = { block: { rows: 32, columns: 32 }, rows: 64, k: 128, kept: 2 };
  expect(nextFormat(blocksFormat(q4, blocks), f16)!.name).toBe('q5_0');
});

test('every step ends, and the rows that a format divides are divided by the next', () => {
  for (const first of formats) {
    let format = first;
    let steps = 0;
    for (let next: typeof format | undefined = format; next; next = nextFormat(format, formatByName('f32'))) {
      if (format.kind === 'block') expect(format.block % next.block).toBe(0);
      format = next;
      expect(steps++).toBeLessThan(8);
    }
  }
});
