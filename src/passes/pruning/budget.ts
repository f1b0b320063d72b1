import { RecipeError } from '../../errors.ts';

/** What a budget is a share of: the bytes of the files of weights, or the time that the products of a token take on the device. */
export const PRUNE_BUDGETS = ['bytes', 'time'] as const;
/** One of them. */
export type PruneBudget = (typeof PRUNE_BUDGETS)[number];

/** How far a model goes down, in place of an amount in its pattern. */
export interface BudgetRule {
  /**
   * With a pattern that says no amount, such as `ffn` or `block:32x32`: remove as little as leaves so much. Below 1 a share of what the same formats take
   * where nothing is removed, from 1 on bytes of the files of weights.
   */
  keep?: number | undefined;
  /** Of what. Default: bytes. */
  budget?: PruneBudget | undefined;
}

/** The same, checked. */
export interface SizeBudget {
  readonly keep: number;
  readonly of: PruneBudget;
}

/** Patterns of which less or more may go, which shows in files and in time. */
const OPEN_PATTERNS = 'ffn, heads, layers, or with "packed" block:32x32';

/**
 * @param open whether the pattern leaves the amount to a budget
 * @returns undefined where there is none
 * @throws RecipeError where pattern and budget do not go together
 */
export function budgetOf({ keep, budget }: BudgetRule, pattern: string, open: boolean): SizeBudget | undefined {
  if (keep === undefined) {
    if (budget !== undefined)
      throw new RecipeError(`A budget (${budget}) needs to know how much to keep of it: give "keep", such as 0.7.`);
    if (!open) return undefined;
    throw new RecipeError(
      `The pattern "${pattern}" says not how much goes: write an amount behind it, such as :25%, or give a budget ("keep", such as 0.7).`,
    );
  }
  if (!open) {
    throw new RecipeError(
      `The pattern "${pattern}" is not one that a budget ("keep") can decide on: leave the amount out of ${OPEN_PATTERNS}. Zeros that are not packed, and N:M, take as much whatever goes.`,
    );
  }
  if (!(keep > 0) || (keep >= 1 && (budget === 'time' || !Number.isSafeInteger(keep)))) {
    const what =
      budget === 'time' ? 'a share of the time above 0 and below 1' : 'a share above 0 and below 1, or whole bytes';
    throw new RecipeError(`A budget of ${keep} can't be kept to: give ${what}.`);
  }
  return { keep, of: budget ?? 'bytes' };
}
