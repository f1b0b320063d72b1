import picomatch from 'picomatch';
import * as v from 'valibot';
import { FormatError, RecipeError } from '../errors.ts';
import { quote, reason } from '../files/text.ts';
import type { Format } from '../formats/format.ts';
import { checkPacking } from '../formats/packed-layout.ts';
import { formatByName } from '../formats/registry.ts';
import { suggest } from '../suggest.ts';
import { type Factoring, factoringOf } from './factorize/factoring.ts';
import { defaultMethod, METHODS, type Method, methodProblem, scalesInputs } from './methods/method.ts';
import { LAYER_SHARES, type Pruning, pruningOf, REPAIRS, SCORES } from './pruning/pruning.ts';
import {
  FactorSchema,
  PruneSchema,
  type Recipe,
  RecipeSchema,
  ROLES,
  type Role,
  RotationSchema,
  type Rule,
  RuleSchema,
  ShrinkSchema,
} from './recipe-schema.ts';
import { SHRINK_LAYERS, SHRINK_REPAIRS, SHRINK_SCORES, shrinkingOf } from './shrinking/shrinking.ts';

export { MAX_GLOB_LENGTH, MAX_RULES, type Recipe, ROLES, type Role, type Rule } from './recipe-schema.ts';

/** The recipe that a format's name stands for: all linear matrices get it, the rest stays as it is. `keep`: all of it does. */
export function presetRecipe(format: string, { method, refine }: Pick<Rule, 'method' | 'refine'> = {}): Recipe {
  if (format === 'keep') return { version: 1, rules: [{ match: '*', format }] };
  const rule = { match: '*', role: 'linear', format: formatByName(format).name } as const;
  return { version: 1, rules: [{ ...rule, ...(method && { method }), ...(refine !== undefined && { refine }) }] };
}

/**
 * Checks data, such as a parsed JSON file, for being a recipe. `where` names it in messages.
 * @throws RecipeError for an unknown key (with the nearest known one) or value, FormatError for an unknown format.
 */
export function parseRecipe(data: unknown, where = 'The recipe'): Recipe {
  const recipe = checkShape(data, where);
  compileWhole(recipe, where);
  return recipe;
}

function checkShape(data: unknown, where: string): Recipe {
  const parsed = v.safeParse(RecipeSchema, data);
  if (!parsed.success) {
    // A misspelled key is also one that is missing: only the spelling is of use.
    throw new RecipeError(`${where}: ${complaint(parsed.issues.find(isUnknownKey) ?? parsed.issues[0])}`);
  }
  return parsed.output;
}

/** @throws RecipeError for text that is no JSON; otherwise as `parseRecipe`. */
export function parseRecipeText(text: string, where = 'The recipe'): Recipe {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new RecipeError(`${where} is no JSON: ${reason(error)}.`, { cause: error });
  }
  return parseRecipe(data, where);
}

type Issue = v.InferIssue<typeof RecipeSchema>;

const isUnknownKey = (issue: Issue): boolean => issue.type === 'strict_object' && issue.expected === 'never';

function complaint(issue: Issue): string {
  const path = issue.path ?? [];
  const key = path.at(-1);
  if (isUnknownKey(issue) && key) {
    const inRule = { prune: PruneSchema, factorize: FactorSchema }[path.length > 3 ? String(path[2]?.key) : ''];
    const apart = { rotation: RotationSchema, shrink: ShrinkSchema }[String(path[0]?.key)];
    const within = apart ?? inRule ?? RuleSchema;
    const known = Object.keys(path.length === 1 ? RecipeSchema.entries : within.entries);
    const at = path.length === 1 ? '' : ` in ${v.getDotPath(issue)?.replace(/\.[^.]*$/, '')}`;
    return `unknown key ${quote(String(key.key))}${at}.${suggest(String(key.key), known)} Known: ${known.join(', ')}.`;
  }
  const at = v.getDotPath(issue) ?? 'the recipe';
  if (issue.received === 'undefined') return `${at} is missing. ${EXAMPLE}`;
  const shrinks = path[0]?.key === 'shrink';
  const names: readonly string[] = (shrinks ? SHRINK_NAMES : NAMES)[String(key?.key)] ?? [];
  const hint = typeof issue.input === 'string' ? suggest(issue.input, names) : '';
  return `${at}: expected ${issue.expected ?? 'a sensible value'}, got ${issue.received}.${hint} ${EXAMPLE}`;
}

const NAMES: Readonly<Record<string, readonly string[]>> = {
  role: ROLES,
  method: METHODS,
  score: SCORES,
  repair: REPAIRS,
  layers: LAYER_SHARES,
};

const SHRINK_NAMES: Readonly<Record<string, readonly string[]>> = {
  score: SHRINK_SCORES,
  repair: SHRINK_REPAIRS,
  layers: SHRINK_LAYERS,
};

const EXAMPLE = 'A recipe looks like {"version": 1, "rules": [{"match": "*.mlp.*", "format": "q4_0"}]}.';

/** What a recipe says about one tensor. */
export interface Decision {
  /** undefined: keep it as it is. */
  readonly format: Format | undefined;
  /** How codes and scales are chosen, for a format with blocks. */
  readonly method: Method | undefined;
  /** Rounds of refinement; undefined: as many as the method has. */
  readonly refine: number | undefined;
  /** Which weights go before that; one object for all tensors of a rule. */
  readonly prune: Pruning | undefined;
  /** How it becomes factors. */
  readonly factoring: Factoring | undefined;
  /** Index of the rule that matched. */
  readonly rule: number;
  /** The rule picked tensors by name alone, so whoever wrote it meant this one. */
  readonly explicit: boolean;
}

/** Decides by name and role; undefined where no rule matches. */
export type CompiledRecipe = (name: string, role: Role) => Decision | undefined;

/** Checks a recipe, compiles the globs and looks the formats up. @throws as `parseRecipe` */
export const compileRecipe = (recipe: Recipe, where = 'The recipe'): CompiledRecipe =>
  compileWhole(checkShape(recipe, where), where);

function compileWhole(recipe: Recipe, where: string): CompiledRecipe {
  try {
    if (recipe.shrink) shrinkingOf(recipe.shrink);
  } catch (error) {
    throw new RecipeError(`${where}: shrink.pattern: ${reason(error)}`, { cause: error });
  }
  return compileRules(recipe, where);
}

function compileRules(recipe: Recipe, where: string): CompiledRecipe {
  const rules = recipe.rules.map((rule, index) => {
    const format = rule.format === 'keep' ? undefined : formatOfRule(rule, `${where}: rules.${index}.format`);
    return {
      matches: globMatcher(rule.match, `${where}: rules.${index}.match`),
      role: rule.role,
      decision: {
        format,
        refine: rule.refine,
        method: format && methodOfRule(rule, format, `${where}: rules.${index}.method`),
        prune: rule.prune && prunedByRule(rule, format, `${where}: rules.${index}.prune`),
        factoring: rule.factorize && factoredByRule(rule, format, `${where}: rules.${index}.factorize`),
        rule: index,
        explicit: rule.role === undefined,
      },
    };
  });
  return (name, role) =>
    rules.find((rule) => (rule.role === undefined || rule.role === role) && rule.matches(name))?.decision;
}

function formatOfRule({ format }: Rule, where: string): Format {
  try {
    return formatByName(format);
  } catch (error) {
    throw new FormatError(`${where}: ${reason(error)}`, { cause: error });
  }
}

function methodOfRule({ method, refine = 0 }: Rule, format: Format, where: string): Method | undefined {
  if (format.kind === 'dense') return undefined;
  if (refine > 0 && !format.grid)
    throw new RecipeError(`${where}: ${format.name} can't be refined: leave "refine" out.`);
  if (method === undefined) return defaultMethod(format);
  const problem = methodProblem(method, format);
  if (problem === undefined) return method;
  throw new RecipeError(`${where}: ${problem}.`);
}

function prunedByRule({ prune, method, refine = 0 }: Rule, format: Format | undefined, where: string): Pruning {
  let pruning: Pruning;
  try {
    pruning = pruningOf(prune!);
    if (pruning.packing?.kind === 'n:m' && format) checkPacking(pruning.packing, format);
  } catch (error) {
    throw new RecipeError(`${where}: ${reason(error)}`, { cause: error });
  }
  const problem = format?.single
    ? `${format.name} quantizes scales of whole matrices as they were before: prune into a model of its own first ("keep"), and quantize that`
    : pruning.packing?.kind === 'ranked' && method === 'gptq'
      ? 'codes of blocks that are packed are searched for, not chosen by gptq: leave "packed" out, or use search'
      : pruning.packing && method !== 'gptq' && (refine > 0 || (method && scalesInputs(method)))
        ? 'packed weights have columns of their own in every row, which no calibration is about: use gptq, which prunes and quantizes in one sweep, or search, without "refine"'
        : undefined;
  if (problem !== undefined) throw new RecipeError(`${where}: ${problem}.`);
  return pruning;
}

function factoredByRule(rule: Rule, format: Format | undefined, where: string): Factoring {
  const { factorize, method, prune } = rule;
  const factoring = factoringOf(factorize!, format, prune !== undefined, where);
  const problem = prune?.packed
    ? 'packed weights have no place for factors: leave "packed" out'
    : method && scalesInputs(method)
      ? `the method ${method} moves factors of inputs into other matrices: use search or gptq`
      : !factoring.residual && (method === 'gptq' || (rule.refine ?? 0) > 0)
        ? 'codes of factors are rounded or searched for: leave the method out, or write the factors first and quantize those'
        : undefined;
  if (problem !== undefined) throw new RecipeError(`${where}: ${problem}.`);
  return factoring;
}

/** Whether a tensor's name matches one of the globs. @throws RecipeError for a glob that can't be used. */
export function globMatcher(globs: string | string[], where = 'The pattern'): (name: string) => boolean {
  try {
    // `bash`: one star crosses separators, dots and slashes alike; `dot`: a leading dot is no secret; `windows`: the same everywhere.
    return picomatch(globs, { bash: true, dot: true, windows: false });
  } catch (error) {
    throw new RecipeError(`${where} has an unusable glob: ${reason(error)}.`, { cause: error });
  }
}
