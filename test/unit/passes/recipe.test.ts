import { describe, expect, test } from 'vitest';
import { FormatError, RecipeError } from '../../../src/errors.ts';
import { guessRole } from '../../../src/passes/plan.ts';
import { compileRecipe, parseRecipe, parseRecipeText, presetRecipe, type Recipe } from '../../../src/passes/recipe.ts';

const rules = (...list: Recipe['rules']): Recipe => ({ version: 1, rules: list });
const formatOf = (recipe: Recipe, name: string, role: Parameters<ReturnType<typeof compileRecipe>>[1] = 'linear') =>
  compileRecipe(recipe)(name, role)?.format?.name;

describe('globs', () => {
  test.each([
    ['*.mlp.*', 'model.layers.0.mlp.up_proj.weight', true],
    ['*.mlp.*', 'model.layers.0.self_attn.q_proj.weight', false],
    ['model.layers.{0,7}.*', 'model.layers.7.mlp.up_proj.weight', true],
    ['model.layers.{0,7}.*', 'model.layers.70.mlp.up_proj.weight', false],
    ['model.layers.?.*', 'model.layers.10.mlp.up_proj.weight', false],
    ['*', 'a/b.c', true],
    ['*', '.hidden', true],
    ['exact.weight', 'exact.weight', true],
    ['exact.weight', 'exactXweight', false],
    ['*.q_proj.weight', 'encoder/block.q_proj.weight', true],
  ])('%s on %s: %s', (match, name, expected) => {
    expect(formatOf(rules({ match, format: 'q4_0' }), name)).toBe(expected ? 'q4_0' : undefined);
  });
});

test('the first rule that matches decides, and `keep` is a decision', () => {
  const recipe = rules(
    { match: ['*.v_proj.*', '*.down_proj.*'], format: 'q8_0' },
    { match: '*.layers.0.*', format: 'keep' },
    { match: '*', role: 'linear', format: 'int4-asym' },
  );
  expect(formatOf(recipe, 'm.layers.0.v_proj.weight')).toBe('q8_0');
  expect(compileRecipe(recipe)('m.layers.0.q_proj.weight', 'linear')).toMatchObject({ format: undefined, rule: 1 });
  expect(formatOf(recipe, 'm.layers.1.q_proj.weight')).toBe('int4-g32-asym');
  expect(compileRecipe(recipe)('m.embed.weight', 'embedding')).toBeUndefined();
});

test('a preset compresses linear matrices and nothing else', () => {
  const decide = compileRecipe(presetRecipe('int4'));
  expect(decide('x', 'linear')).toMatchObject({ format: { name: 'int4-g32' }, explicit: false });
  for (const role of ['embedding', 'head', 'norm', 'bias', 'other'] as const) expect(decide('x', role)).toBeUndefined();
});

test('what is wrong with a recipe is said, with the nearest right word', () => {
  const parse = (data: unknown) => () => parseRecipe(data, 'r.json');
  expect(parse({ version: 1, rules: [], rule: [] })).toThrow(/r\.json: unknown key "rule"\. Did you mean "rules"\?/);
  expect(parse({ version: 1, rules: [{ match: '*', formt: 'q4_0', format: 'q4_0' }] })).toThrow(
    /unknown key "formt" in rules\.0\. Did you mean "format"\?/,
  );
  expect(parse({ version: 1, ruels: [] })).toThrow(/r\.json: unknown key "ruels"\. Did you mean "rules"\?/);
  expect(parse({ version: 1, rules: [{ match: '*', formt: 'q4_0' }] })).toThrow(
    /unknown key "formt" in rules\.0\. Did you mean "format"\?/,
  );
  expect(parse({ version: 1 })).toThrow(/r\.json: rules is missing\. A recipe looks like/);
  expect(parse({ version: 1, rules: [{ match: '*' }] })).toThrow(/r\.json: rules\.0\.format is missing/);
  expect(parse({ version: 2, rules: [] })).toThrow(RecipeError);
  expect(parse({ version: 1, rules: [{ match: '*' }] })).toThrow(RecipeError);
  expect(parse({ version: 1, rules: [{ match: '*', role: 'liner', format: 'q4_0' }] })).toThrow(
    /Did you mean "linear"\?/,
  );
  expect(parse({ version: 1, rules: [{ match: 'a'.repeat(257), format: 'q4_0' }] })).toThrow(RecipeError);
  const second = parse({
    version: 1,
    rules: [
      { match: '*', format: 'keep' },
      { match: '*', format: 'q4_9' },
    ],
  });
  expect(second).toThrow(FormatError);
  expect(second).toThrow(/^r\.json: rules\.1\.format: There is no format "q4_9"\. Did you mean "q4_0"\?/);
  expect(parse([])).toThrow(RecipeError);
  expect(() => parseRecipeText('{', 'r.json')).toThrow(/r\.json is no JSON/);
});

test('hqq is taken for the formats that it is for, and refused for others with the one that fits', () => {
  const decided = (format: string) =>
    compileRecipe({ version: 1, rules: [{ match: '*', format, method: 'hqq' }] }, 'r.json')('w', 'linear')?.method;
  expect(decided('int4-g64-fzp')).toBe('hqq');
  expect(() => decided('int4-g64-asym')).toThrow(RecipeError);
  expect(() => decided('int4-g64-asym')).toThrow(/^r\.json: rules\.0\.method: hqq moves .* use int4-g64-fzp\.$/);
  expect(() => decided('q4_k')).toThrow(/such as int4-g64-fzp, not for q4_k\.$/);
});

test('roles of tensors without a graph come from names and shapes', () => {
  const role = (name: string, ...shape: number[]) => guessRole({ name, shape });
  expect(role('encoder.fc1.weight', 8, 8)).toBe('linear');
  expect(role('big', 64, 64)).toBe('linear');
  expect(role('small', 64, 8)).toBe('other');
  expect(role('transformer.wte.weight', 50257, 768)).toBe('embedding');
  expect(role('model.embed_tokens.weight', 4096, 256)).toBe('embedding');
  expect(role('lm_head.weight', 4096, 256)).toBe('head');
  expect(role('ln_f.weight', 768)).toBe('norm');
  expect(role('encoder.layer_norm.weight', 768)).toBe('norm');
  expect(role('fc.bias', 768)).toBe('bias');
  expect(role('conv.weight', 64, 64, 3, 3)).toBe('other');
});
