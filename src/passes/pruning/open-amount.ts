import { RecipeError } from '../../errors.ts';
import type { Recipe } from '../recipe.ts';
import { type Structure, shrinkingOf, withCount } from '../shrinking/shrinking.ts';
import type { SizeBudget } from './budget.ts';
import { withAmount } from './pruning.ts';

/** An amount of a recipe that a budget decides on. */
export interface OpenAmount {
  readonly recipe: Recipe;
  readonly budget: SizeBudget;
  /** Whose number it is; undefined: it is a share of blocks. */
  readonly structure?: Structure;
  /** The pattern with an amount. */
  pattern(amount: string): string;
  /** The recipe with an amount. */
  with(amount: string): Recipe;
}

/**
 * What a recipe that was checked leaves to a budget; undefined where it says all amounts.
 * @throws RecipeError where there are several
 */
export function openAmount(recipe: Recipe): OpenAmount | undefined {
  const { shrink, rules } = recipe;
  const found: OpenAmount[] = [];
  const open = shrink && shrinkingOf(shrink).open;
  if (open) {
    const { keep: _, budget: __, ...rest } = shrink;
    const pattern = (count: string) => withCount(shrink.pattern, Number(count));
    found.push({
      recipe,
      ...open,
      pattern,
      with: (count) => ({ ...recipe, shrink: { ...rest, pattern: pattern(count) } }),
    });
  }
  for (const [at, { prune }] of rules.entries()) {
    if (prune?.keep === undefined) continue;
    const { keep, budget = 'bytes', ...rest } = prune;
    const pattern = (share: string) => withAmount(prune.pattern, share);
    const ruleWith = (share: string) => ({ ...rules[at]!, prune: { ...rest, pattern: pattern(share) } });
    found.push({
      ...{ recipe, budget: { keep, of: budget }, pattern },
      with: (share) => ({ ...recipe, rules: rules.with(at, ruleWith(share)) }),
    });
  }
  if (found.length <= 1) return found[0];
  throw new RecipeError(
    'The recipe has several budgets, of which each would decide on the others: leave one amount to a budget.',
  );
}

/** Whether a recipe removes anything. */
export const removes = ({ shrink, rules }: Recipe): boolean => shrink !== undefined || rules.some(({ prune }) => prune);

/** The recipe with nothing removed, in the same formats. */
export function unpruned({ shrink: _, rules, ...rest }: Recipe): Recipe {
  return {
    ...rest,
    rules: rules.map(({ prune, factorize, ...rule }) => (prune || !factorize ? rule : { ...rule, factorize })),
  };
}
