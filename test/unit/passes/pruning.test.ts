import { expect, test } from 'vitest';
import { CompressaError, RecipeError } from '../../../src/errors.ts';
import { keptOf } from '../../../src/kernels/mask-pattern.ts';
import { goneAfter, growing, parsePattern, pruningOf } from '../../../src/passes/pruning/pruning.ts';
import { compileRecipe, parseRecipe } from '../../../src/passes/recipe.ts';
import { unitsLeft } from '../../../src/passes/shrinking/shrinking.ts';

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

test.each([
  // In f64, 0.29 · 100 is 28.999999999999996, 0.57 · 100 is 56.99999999999999, and 0.29 · 10^8 as much below.
  ['29%', 100, 71],
  ['29%@row', 3200, 2272],
  ['57%', 100, 43],
  ['7%', 100, 93],
  ['29%', 100_000_000, 71_000_000],
  // Below a whole number in truth.
  ['33.3%', 100, 67],
  ['0.999999999%', 1_000_000_000, 990_000_001],
  ['1000', 3200, 2200],
])('%s of %d leave %d', (text, total, left) => {
  const pattern = parsePattern(text);
  expect(pattern.kind === 'ranked' && keptOf(pattern.remove, total, 'The pattern')).toBe(left);
});

test('shares of channels are counted alike', () => {
  expect(unitsLeft('ffn', { fraction: 0.29 }, 100, 'a model')).toBe(71);
  expect(unitsLeft('ffn', { fraction: 0.57 }, 300, 'a model')).toBe(129);
  expect(unitsLeft('ffn', { fraction: 0.333 }, 100, 'a model')).toBe(67);
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

test.each([
  [{ pattern: 'ffn:25%', seed: 3 }, /Only what goes at random has a seed.*leave "seed" out/],
  [{ pattern: 'ffn:25%', seed: 0, score: 'obs' }, /not what goes by obs/],
  [{ pattern: 'layers:1', score: 'obs' }, /not by obs: leave "score" out, or take random/],
  [{ pattern: 'layers', keep: 0.5, score: 'magnitude' }, /not by magnitude/],
  [{ pattern: 'layers:1', repair: 'refit' }, /no matrix is left to be fitted \(refit\)/],
])('what would be ignored is refused: %o', (shrink, message) => {
  const parse = () => parseRecipe({ version: 1, rules: [{ match: '*', format: 'keep' }], shrink }, 'r');
  expect(parse).toThrow(RecipeError);
  expect(parse).toThrow(message);
});

test.each([
  { pattern: 'layers:1' },
  { pattern: 'layers:1', score: 'random', seed: 3 },
  { pattern: 'layers:1,ffn:25%', score: 'obs', repair: 'refit' },
])('what all has a use is taken: %o', (shrink) => {
  expect(parseRecipe({ version: 1, rules: [{ match: '*', format: 'keep' }], shrink }).shrink).toEqual(shrink);
});
