import { RecipeError } from '../../errors.ts';
import type { SparsePattern } from '../../formats/packed-layout.ts';
import { checkPattern, type MaskPattern, SCOPES, type Scope } from '../../kernels/mask-pattern.ts';
import { type BudgetRule, budgetOf, type SizeBudget } from './budget.ts';
import type { Round } from './rounds.ts';

/** What a weight is worth. */
export const SCORES = ['magnitude', 'wanda', 'obs'] as const;
/** One of them. */
export type Score = (typeof SCORES)[number];

/** What is done for the outputs of a matrix once weights are gone. */
export const REPAIRS = ['none', 'obs'] as const;
/** One of them. */
export type Repair = (typeof REPAIRS)[number];

/** How what is removed is spread over the layers of a model. */
export const LAYER_SHARES = ['uniform', 'owl', 'sensitivity'] as const;
/** One of them. */
export type LayerShares = (typeof LAYER_SHARES)[number];

/** How a matrix is pruned, as a recipe says it. */
export interface PruneRule extends BudgetRule {
  /** `2:4`, `2:4x8`, `50%`, `50%@row`, `block:32x32:75%@model`: see `parsePattern`. With a budget: `block:32x32`. */
  pattern: string;
  /** Default: magnitude. */
  score?: Score | undefined;
  /** Default: none. */
  repair?: Repair | undefined;
  /**
   * How a share is spread over layers: `uniform` (default); `owl`, by outlier ratio: those with more weights of outstanding score lose up to 8% of the weights
   * less, others more; `sensitivity`, so that what all together lose, as measured, is least. The last two need a calibration.
   */
  layers?: LayerShares | undefined;
  /** Store only the weights, or blocks, that an N:M or block pattern keeps, and their places, in Compressa's own container. Default: zeros. */
  packed?: boolean | undefined;
  /**
   * The whole model is pruned so often, by more each time (after round r of n, 1 − (1 − r/n)³ of what goes is gone: Zhu and Gupta 2017), and calibrated anew on what is left. Default: 1. More than one needs a
   * calibration text.
   */
  rounds?: number | undefined;
}

/** The same, checked and complete. */
export interface Pruning {
  /** The pattern as it was written. */
  readonly text: string;
  readonly pattern: MaskPattern;
  readonly score: Score;
  readonly repair: Repair;
  readonly layers?: LayerShares;
  /** More than one. */
  readonly rounds?: number;
  /** The pattern that the weights are packed by, where they are. */
  readonly packing?: Packing;
  /** What decides how much goes, until it has: a block of each matrix stands for it. */
  readonly budget?: SizeBudget;
}

/** A pattern that weights are packed by: N:M, or blocks of which each matrix keeps a number that is known in advance. */
export type Packing = SparsePattern | (MaskPattern & { readonly kind: 'ranked' });

/** Whether layers get shares of their own. */
export const differs = (layers: LayerShares | undefined): boolean => layers === 'owl' || layers === 'sensitivity';

/** Whether it needs to know the inputs of a matrix. */
export const knowsInputs = ({ score, repair, layers }: Pick<Pruning, 'score' | 'repair' | 'layers'>): boolean =>
  score !== 'magnitude' || repair !== 'none' || differs(layers);

/** Whether mean squares of the columns of an input are not enough for it. */
export const needsHessian = ({ score, repair }: Pick<Pruning, 'score' | 'repair'>): boolean =>
  score === 'obs' || repair !== 'none';

const GROUP = /^(\d{1,6}):(\d{1,6})(?:x(\d{1,6}))?$/;
const RANKED = /^(?:block:(\d{1,6})x(\d{1,6}):)?(\d{1,3}(?:\.\d{1,9})?%|\d{1,15})(?:@(\w+))?$/;

/**
 * A pattern by its name. `2:4`: of 4 weights next to each other 2 stay; `2:4x8`: 8 rows share the pattern. `50%`: the half of all weights that are worth the
 * least goes, `1000`: a thousand of them; `block:32x32:75%`: of blocks of that size. `@row`, `@layer` and `@model` say what is compared with what: the
 * weights of a row, of a matrix (the default, or the row where columns are scored by their inputs), or of all matrices that the rule is for.
 * @throws ArgumentError, RecipeError that say which patterns there are
 */
export function parsePattern(text: string, score: Score = 'magnitude'): MaskPattern {
  const group = GROUP.exec(text);
  if (group) {
    const [, keep, of, rows] = group;
    const pattern = { kind: 'n:m', keep: Number(keep), of: Number(of), ...(rows && { rows: Number(rows) }) } as const;
    checkPattern(pattern);
    return pattern;
  }
  const ranked = RANKED.exec(text);
  const scope = ranked?.[4] ?? (score === 'magnitude' || ranked?.[1] ? 'layer' : 'row');
  if (!ranked || !isScope(scope)) {
    throw new RecipeError(
      `There is no pattern "${text.slice(0, 64)}". Patterns are like 2:4, 4:8, 2:4x8 (8 rows share it), 50%, block:32x32:75%, the last two also with @row, @layer or @model.`,
    );
  }
  const [, rows = '1', columns = '1', amount] = ranked;
  const remove = amount!.endsWith('%') ? { fraction: Number(amount!.slice(0, -1)) / 100 } : { count: Number(amount) };
  const pattern = { kind: 'ranked', rows: Number(rows), columns: Number(columns), scope, remove } as const;
  checkPattern(pattern);
  return pattern;
}

const OPEN = /^(block:\d{1,6}x\d{1,6})(@\w+)?$/;

/** A pattern of blocks that says no amount, with one. */
export const withAmount = (text: string, amount: string): string =>
  text.replace(OPEN, (_, blocks: string, scope = '') => `${blocks}:${amount}${scope}`);

const isScope = (text: string): text is Scope => SCOPES.some((scope) => scope === text);

/** @throws RecipeError, ArgumentError */
export function pruningOf(rule: PruneRule): Pruning {
  const { pattern: text, score = 'magnitude', repair = 'none', layers = 'uniform', packed = false } = rule;
  const budget = budgetOf(rule, text, OPEN.test(text) && packed);
  const pattern = parsePattern(budget ? withAmount(text, '1') : text, score);
  const several = rule.rounds !== undefined && rule.rounds > 1 && { rounds: rule.rounds };
  if (several) checkRounds(rule, budget ? undefined : pattern, several.rounds);
  if (pattern.kind === 'ranked' && pattern.scope === 'model' && (score !== 'magnitude' || repair !== 'none')) {
    throw new RecipeError(
      `The pattern "${text}" compares weights of all matrices, whose inputs are not known together: use the score magnitude without repair, or @layer.`,
    );
  }
  if (layers !== 'uniform') {
    if (packed)
      throw new RecipeError(
        `Layers with sparsities of their own (${layers}) are not packed: leave "packed" out, or "layers".`,
      );
    const shares = pattern.kind === 'ranked' && pattern.scope !== 'model' && 'fraction' in pattern.remove;
    if (shares) return { text, pattern, score, repair, layers, ...several };
    throw new RecipeError(
      `Only a share can differ by layer (${layers}), such as 50% or block:32x32:75%, not "${text}".`,
    );
  }
  if (!packed) return { text, pattern, score, repair, ...several };
  if (pattern.kind === 'ranked' && (pattern.rows * pattern.columns === 1 || pattern.scope === 'model')) {
    throw new RecipeError(
      `Only what an N:M pattern keeps can be packed, such as 2:4 or 2:4x8, or blocks of a row or layer, such as block:32x32:75%, not "${text}".`,
    );
  }
  return { text, pattern, score, repair, packing: pattern, ...several, ...(budget && { budget }) };
}

/** @param pattern undefined where a budget decides on it @throws RecipeError where there is nothing to do in so many rounds */
function checkRounds(
  { pattern: text, score = 'magnitude', repair = 'none', layers }: PruneRule,
  pattern: MaskPattern | undefined,
  rounds: number,
): void {
  if (score === 'magnitude' && repair === 'none') {
    throw new RecipeError(
      'Rounds are for scores and repair that look at inputs: by size alone the same weights go at once. Leave "rounds" out, or take wanda or obs.',
    );
  }
  if (differs(layers))
    throw new RecipeError(
      `Sparsities of layers (${layers}) are found once, on the original model: leave "rounds" out, or "layers".`,
    );
  if (!pattern) return;
  const distinct = (of: number) => growing(pattern, of).length === of;
  if (distinct(rounds)) return;
  let most = rounds - 1;
  while (!distinct(most)) most--;
  const which = most === 1 ? 'which goes in one round' : `which goes in ${most} rounds at most`;
  throw new RecipeError(
    `The pattern "${text}" can't remove more in each of ${rounds} rounds, ${which}: give fewer "rounds".`,
  );
}

/** The share of what goes that is gone after a step: it grows as a cube does that slows down, since early weights are cheap (Zhu and Gupta 2017). */
export const goneAfter = (step: number, steps: number): number => 1 - (1 - step / steps) ** 3;

const ONLY_ROUND: Round = { number: 1, of: 1 };

/** Patterns that remove more and more, no two the same, up to the pattern itself; of several rounds, those of one. */
export function growing(pattern: MaskPattern, steps: number, { number, of }: Round = ONLY_ROUND): MaskPattern[] {
  const all = Array.from({ length: steps }, (_, i) => milder(pattern, (number - 1) * steps + i + 1, of * steps));
  return all.filter((one, i) => JSON.stringify(one) !== JSON.stringify(all[i + 1]));
}

function milder(pattern: MaskPattern, step: number, steps: number): MaskPattern {
  if (step === steps) return pattern;
  const share = goneAfter(step, steps);
  if (pattern.kind === 'n:m') {
    const { of, keep } = pattern;
    return { ...pattern, keep: Math.min(of - 1, Math.ceil(of - share * (of - keep))) };
  }
  const { remove } = pattern;
  return {
    ...pattern,
    remove:
      'count' in remove
        ? { count: Math.max(1, Math.floor(remove.count * share)) }
        : { fraction: remove.fraction * share },
  };
}
