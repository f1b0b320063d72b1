import { expect, test } from 'vitest';
import { CompressaError, RecipeError } from '../../../src/errors.ts';
import { goneAfter, growing, parsePattern, pruningOf } from '../../../src/passes/pruning/pruning.ts';
import { compileRecipe, parseRecipe } from '../../../src/passes/recipe.ts';

const single = { kind: 'ranked', rows: 1, columns: 1 } as const;

test.each([
  ['2:4', { kind: 'n:m', keep: 2, of: 4 }],
  ['1:16x8', { kind: 'n:m', keep: 1, of: 16, rows: 8 }],
  ['50%', { ...single, scope: 'layer', remove: { fraction: 0.5 } }],
  ['12.5%@row', { ...single, scope: 'row', remove: { fraction: 0.125 } }],
  ['1000@model', { ...single, scope: 'model', remove: { count: 1000 } }],
  ['block:32x8:75%', { kind: 'ranked', rows: 32, columns: 8, scope: 'layer', remove: { fraction: 0.75 } }],
])('%s', (text, pattern) => {
  expect(parsePattern(text)).toEqual(pattern);
});

test('single weights are compared within rows where inputs are known, blocks within layers', () => {
  expect(parsePattern('50%', 'wanda')).toMatchObject({ scope: 'row' });
  expect(parsePattern('50%@layer', 'obs')).toMatchObject({ scope: 'layer' });
  expect(parsePattern('block:4x4:50%', 'obs')).toMatchObject({ scope: 'layer' });
});

test.each([
  ['4:2', 'keep 1 to 1'],
  ['4:4', 'keep 1 to 3'],
  ['0:4', 'keep 1 to 3'],
  ['2:32', '2 to 16'],
  ['100%', 'something is left'],
  ['0%', 'something is left'],
  ['0', 'whole number from 1'],
  ['block:0x4:50%', 'no blocks of 0 x 4'],
  ['half', 'Patterns are like'],
  ['50%@column', 'Patterns are like'],
  ['2:4@row', 'Patterns are like'],
  ['', 'Patterns are like'],
  ['-50%', 'Patterns are like'],
])('"%s" is refused, with what would work', (text, message) => {
  expect(() => parsePattern(text)).toThrow(message);
  expect(() => parsePattern(text)).toThrow(CompressaError);
});

test('weights of all matrices are compared by magnitude only', () => {
  expect(() => pruningOf({ pattern: '50%@model', score: 'wanda' })).toThrow('use the score magnitude');
  expect(() => pruningOf({ pattern: '50%@model', repair: 'obs' })).toThrow(RecipeError);
});

test('steps remove more and more, and end with the pattern', () => {
  const half = parsePattern('50%');
  const steps = growing(half, 4);
  const shares = steps.map((one) => (one.kind === 'ranked' && 'fraction' in one.remove ? one.remove.fraction : 0));
  expect(shares).toHaveLength(4);
  expect(shares).toEqual([...new Set(shares)].sort((a, b) => a - b));
  expect(steps.at(-1)).toBe(half);
  const kept = (text: string) => growing(parsePattern(text), 4).map((one) => one.kind === 'n:m' && one.keep);
  expect(kept('2:8')).toEqual([5, 3, 2]);
  expect(kept('2:4')).toEqual([3, 2]);
  expect(kept('3:4')).toEqual([3]);
});

test('steps of rounds are those of one long way, cut where rounds end', () => {
  const half = parsePattern('50%');
  const rounds = [1, 2, 3].flatMap((number) => growing(half, 4, { number, of: 3 }));
  expect(rounds).toEqual(growing(half, 12));
  expect(growing(half, 1, { number: 2, of: 3 })).toEqual([{ ...half, remove: { fraction: 0.5 * goneAfter(2, 3) } }]);
  expect(goneAfter(2, 3)).toBeCloseTo(26 / 27, 12);
  expect(growing(parsePattern('2:4'), 1, { number: 1, of: 2 })).toEqual([{ kind: 'n:m', keep: 3, of: 4 }]);
});

test('a recipe says how to prune, and what is wrong with it is said', () => {
  const parse = (rule: object) => () =>
    parseRecipe({ version: 1, rules: [{ match: '*', format: 'keep', ...rule }] }, 'r');
  const decide = compileRecipe(parse({ prune: { pattern: '2:4', score: 'wanda' } })());
  expect(decide('x', 'linear')?.prune).toMatchObject({ text: '2:4', score: 'wanda', repair: 'none' });
  expect(parse({ prune: { pattern: '2:4', scor: 'obs' } })).toThrow(
    'unknown key "scor" in rules.0.prune. Did you mean "score"? Known: pattern, score, repair, layers, packed, rounds, keep, budget.',
  );
  expect(parse({ prune: { pattern: '2:4', score: 'wnada' } })).toThrow('Did you mean "wanda"?');
  expect(parse({ prune: {} })).toThrow('rules.0.prune.pattern is missing');
  expect(parse({ prune: { pattern: '5:4' } })).toThrow('r: rules.0.prune: The pattern 5:4 keeps 5 of 4; keep 1 to 3.');
  expect(parse({ prune: { pattern: '2:4', packed: true }, format: 'q4_0', method: 'awq' })).toThrow('use gptq');
  expect(parse({ prune: { pattern: '2:4', packed: true }, format: 'q4_0', refine: 1 })).toThrow('use gptq');
  expect(parse({ prune: { pattern: '2:4' }, format: 'nf4' })).toThrow('prune into a model of its own first');
});
