import { ArgumentError, RecipeError } from '../../errors.ts';
import { wholeShare } from '../../kernels/mask-pattern.ts';
import { type BudgetRule, budgetOf, type SizeBudget } from '../pruning/budget.ts';
import { goneAfter } from '../pruning/pruning.ts';

/** What a structure is worth. */
export const SHRINK_SCORES = ['magnitude', 'wanda', 'obs', 'random'] as const;
/** One of them. */
export type ShrinkScore = (typeof SHRINK_SCORES)[number];

/** What is done for the outputs once structures are gone. */
export const SHRINK_REPAIRS = ['none', 'refit'] as const;
/** One of them. */
export type ShrinkRepair = (typeof SHRINK_REPAIRS)[number];

/** How channels that go are spread over layers. */
export const SHRINK_LAYERS = ['uniform', 'sensitivity'] as const;
/** One of them. */
export type ShrinkLayers = (typeof SHRINK_LAYERS)[number];

/** Which structures a model loses, as a recipe says it. */
export interface ShrinkRule extends BudgetRule {
  /** `ffn:25%`, `ffn:192`, `heads:1`, `layers:1`; several with commas between them. With a budget, one of them says no amount: `ffn`. See `shrinkingOf`. */
  pattern: string;
  /** Default: magnitude. Of channels and heads: where only layers go, `random` or none. */
  score?: ShrinkScore | undefined;
  /** Default: none. Of channels and heads. */
  repair?: ShrinkRepair | undefined;
  /** Of the score `random`; default 0. */
  seed?: number | undefined;
  /**
   * Of channels: `uniform` (default), as many of each layer; `sensitivity`, as many of all together, so that what all lose, as measured, is least, which
   * needs a calibration. Layers then have widths of their own, which only Compressa reads.
   */
  layers?: ShrinkLayers | undefined;
  /** So often all layers lose channels or heads, more each time, and the model is calibrated anew: see `PruneRule`. Default: 1. */
  rounds?: number | undefined;
}

/** What can be removed: channels of FFNs; groups of a key and value head with its query heads; whole layers. */
export const STRUCTURES = ['ffn', 'heads', 'layers'] as const;
/** One of them. */
export type Structure = (typeof STRUCTURES)[number];

/** How many of a layer, or of the layers, go: a share, rounded down, or a count. */
export type Amount = { readonly fraction: number } | { readonly count: number };

/** The same, checked and complete. */
export interface Shrinking {
  /** The pattern as it was written. */
  readonly text: string;
  readonly amounts: ReadonlyMap<Structure, Amount>;
  readonly score: ShrinkScore;
  readonly repair: ShrinkRepair;
  readonly seed: number;
  /** Layers lose channels by their sensitivity. */
  readonly spreads: boolean;
  readonly rounds: number;
  /** What decides how many of a structure go, until it has: one of them stands for it. */
  readonly open?: { readonly structure: Structure; readonly budget: SizeBudget };
}

/** Whether the inputs of matrices have to be known. */
export const shrinkNeedsInputs = ({ amounts, score, repair, spreads }: Shrinking): boolean =>
  ranksLayers({ amounts, score }) || spreads || score === 'wanda' || score === 'obs' || repair !== 'none';

/** Whether layers go by what they change. */
export const ranksLayers = ({ amounts, score }: Pick<Shrinking, 'amounts' | 'score'>): boolean =>
  amounts.has('layers') && score !== 'random';

const AMOUNT = /^(\w+):(\d{1,3}(?:\.\d{1,9})?%|\d{1,7})$/;

const isOpen = (part: string): part is Structure => STRUCTURES.some((structure) => part === structure);

/** Whether a pattern is about structures, and not about weights. */
export const isShrinkPattern = (text: string): boolean =>
  text.split(',').some((part) => isOpen(part) || STRUCTURES.some((structure) => part.startsWith(`${structure}:`)));

/** Whether a pattern is about layers and nothing else, which have no score. */
export const isLayersPattern = (text: string): boolean => /^layers(:[^,]*)?$/.test(text);

/** A pattern one part of which says no amount, with one. */
export const withCount = (text: string, count: number): string =>
  text
    .split(',')
    .map((part) => (isOpen(part) ? `${part}:${count}` : part))
    .join();

/**
 * A rule, checked. `ffn:25%` removes that share of the channels of each FFN, `ffn:192` so many of them, `heads:1` of each layer a key and value head with all
 * query heads that share it, `layers:1` a layer: that which changes its input least, whatever the score of what else goes, unless that is `random`.
 * @throws RecipeError
 */
export function shrinkingOf(rule: ShrinkRule): Shrinking {
  const { pattern: text, score = 'magnitude', repair = 'none', seed = 0, layers = 'uniform', rounds = 1 } = rule;
  const amounts = new Map<Structure, Amount>();
  const [structure, another] = text.split(',').filter(isOpen);
  if (another !== undefined) {
    throw new RecipeError(
      `The pattern "${text}" says of several structures not how much goes: a budget decides on one.`,
    );
  }
  const budget = budgetOf(rule, text, structure !== undefined);
  for (const part of (budget ? withCount(text, 1) : text).split(',')) {
    const [, name, amount] = AMOUNT.exec(part) ?? [];
    const structure = STRUCTURES.find((one) => one === name);
    if (structure === undefined || amount === undefined) {
      throw new RecipeError(
        `There is no pattern "${part.slice(0, 64)}". Patterns of structures are like ffn:25%, ffn:192, heads:1, layers:1, or several with commas between them.`,
      );
    }
    if (amounts.has(structure))
      throw new RecipeError(`The pattern "${text}" says twice how much of ${structure} goes.`);
    amounts.set(
      structure,
      amount.endsWith('%') ? { fraction: Number(amount.slice(0, -1)) / 100 } : { count: Number(amount) },
    );
  }
  if (rule.seed !== undefined && score !== 'random') {
    throw new RecipeError(`Only what goes at random has a seed, not what goes by ${score}: leave "seed" out.`);
  }
  const onlyLayers = [...amounts.keys()].every((one) => one === 'layers');
  if (onlyLayers && rule.score !== undefined && score !== 'random') {
    throw new RecipeError(
      `Layers go by how much they change what goes through them, not by ${score}: leave "score" out, or take random.`,
    );
  }
  if (onlyLayers && repair !== 'none') {
    throw new RecipeError(
      `Where a layer goes no matrix is left to be fitted (${repair}): leave "repair" out, or remove channels or heads as well.`,
    );
  }
  const fixed = score === 'magnitude' || score === 'random';
  if (rounds > 1 && (fixed || onlyLayers)) {
    throw new RecipeError(
      `Rounds are for channels and heads that are chosen by their inputs, not for "${text}" by ${score}: leave "rounds" out.`,
    );
  }
  const spreads = layers !== 'uniform';
  if (spreads && !amounts.has('ffn')) {
    throw new RecipeError(
      `Only channels are spread over layers (${layers}), such as ffn:25%, and "${text}" has none: leave "layers" out.`,
    );
  }
  if (spreads && score === 'random') {
    throw new RecipeError(
      'Channels that are chosen at random are worth nothing that layers could be compared by: leave "layers" out.',
    );
  }
  if (spreads && budget)
    throw new RecipeError('A budget is kept to by layers that lose alike: leave "layers" out, or give an amount.');
  const open = budget && { open: { structure: structure!, budget } };
  return { text, amounts, score, repair, seed, spreads, rounds, ...open };
}

/** How many units are left after each round. */
export const leftInRounds = (units: number, left: number, rounds: number): number[] =>
  Array.from({ length: rounds }, (_, i) => units - Math.floor((units - left) * goneAfter(i + 1, rounds)));

/** Whether there are enough units for each round to remove some. */
export const goesInRounds = (units: number, left: number, rounds: number): boolean =>
  new Set([units, ...leftInRounds(units, left, rounds)]).size > rounds;

/** What one of a structure is called. */
const UNITS: Readonly<Record<Structure, string>> = { ffn: 'FFN channels', heads: 'KV groups', layers: 'layers' };

/** How many of `total` are left. `layer` is that which they are of, where layers differ. @throws ArgumentError that says which values work */
export function unitsLeft(structure: Structure, amount: Amount, total: number, model: string, layer?: number): number {
  const removed = 'count' in amount ? amount.count : wholeShare(amount.fraction, total);
  if (removed >= 1 && removed < total) return total - removed;
  const units = total === 1 ? UNITS[structure].slice(0, -1) : UNITS[structure];
  const what =
    structure === 'layers'
      ? `${model}: it has ${total} ${units}`
      : layer === undefined
        ? `${model}: its layers have ${total} ${units} each`
        : `${model}: its layer ${layer} has ${total} ${units}`;
  if (total === 1) throw new ArgumentError(`${what}, which can't be removed: leave ${structure} out.`);
  const asked = removed < 1 ? 'of which none would go' : `of which ${removed} would go, which leaves nothing`;
  throw new ArgumentError(
    `${what}, ${asked}: give ${structure}:1 to ${structure}:${total - 1}, or a share from ${percent(1 / total)} to below 100%.`,
  );
}

/** Not below the share. */
const percent = (share: number): string => `${Math.ceil(1e4 * share) / 100}%`;
