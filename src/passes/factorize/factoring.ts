import { FormatError, RecipeError } from '../../errors.ts';
import { reason } from '../../files/text.ts';
import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { WhitenBy } from '../lowrank/whiten-by.ts';
import { type Across, type Budget, checkRankTarget, type RankTarget } from './rank.ts';

/** How a matrix becomes factors, as a recipe says it. */
export interface FactorRule {
  /** Of the factors; the default of a residual: 32. */
  rank?: number | undefined;
  /** In its place: parameters that stay of each matrix, as a share. */
  keep?: number | undefined;
  /** With `keep`: `model` for a share of all matrices of the rule together. */
  across?: Across | undefined;
  /** Of what: `time` for the measured time of a token's products. */
  budget?: Budget | undefined;
  /** In its place: share of the sum of squares of singular values that stays of each matrix at least. */
  energy?: number | undefined;
  /** The rule's format, or what pruning leaves, keeps the whole matrix, and the factors what that has lost. */
  residual?: boolean | undefined;
  /** The format of the factors. Default: the rule's, and of a residual f16. */
  factors?: string | undefined;
  /** Where inputs are known, what weighs errors: all of H, or the sizes of its columns. Default: all that is known. */
  whiten?: WhitenBy | undefined;
  /** Of the random numbers; default 0. */
  seed?: number | undefined;
}

/** The same, checked and complete. */
export interface Factoring {
  readonly target: RankTarget;
  readonly residual: boolean;
  /** Undefined: the type that the matrix has. */
  readonly factors: Format | undefined;
  readonly whiten: WhitenBy;
  readonly seed: number;
}

/** Singular values of a residual, where nothing else is said: what LQER and EoRA take. */
const RESIDUAL_RANK = 32;

/**
 * @param format of the rule; undefined: the matrix keeps its type
 * @param pruned whether the rule prunes first
 * @throws RecipeError, FormatError that say which key they are about
 */
export function factoringOf(rule: FactorRule, format: Format | undefined, pruned: boolean, where: string): Factoring {
  const { residual = false } = rule;
  const given = {
    ...(rule.rank !== undefined && { rank: rule.rank }),
    ...(rule.keep !== undefined && { keep: rule.keep }),
    ...(rule.energy !== undefined && { energy: rule.energy }),
    ...(rule.across !== undefined && { across: rule.across }),
    ...(rule.budget !== undefined && { budget: rule.budget }),
  };
  const target = residual && Object.keys(given).length === 0 ? { rank: RESIDUAL_RANK } : given;
  try {
    checkRankTarget(target);
  } catch (error) {
    throw new RecipeError(`${where}: ${reason(error)}`, { cause: error });
  }
  const problem = problemOf(target, residual, format, pruned);
  if (problem !== undefined) throw new RecipeError(`${where}: ${problem}.`);
  const factors = rule.factors === undefined ? (residual ? formatByName('f16') : format) : named(rule.factors, where);
  if (factors?.single || factors?.activations) {
    throw new FormatError(
      `${where}: factors can't be ${factors.name}, whose scales or activations are those of a whole matrix. Choose f16, q8_0 or int4-g32, say.`,
    );
  }
  return { target, residual, factors, whiten: rule.whiten ?? 'hessian', seed: rule.seed ?? 0 };
}

function problemOf(target: RankTarget, residual: boolean, format: Format | undefined, pruned: boolean) {
  if (!residual) return pruned ? 'factors have no zeros of their own: with "prune" make it a residual' : undefined;
  if (target.rank === undefined) return 'a residual takes a rank: its share or energy says nothing of the matrix';
  if (format?.kind !== 'block' && !pruned) return 'a residual is what a format, or pruning, has lost: name one';
  if (format?.activations === 'static') return `${format.name} has no room for a residual: use w8a8`;
  return undefined;
}

function named(name: string, where: string): Format {
  try {
    return formatByName(name);
  } catch (error) {
    throw new FormatError(`${where}.factors: ${reason(error)}`, { cause: error });
  }
}
