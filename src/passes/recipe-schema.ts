import * as v from 'valibot';
import type { FactorRule } from './factorize/factoring.ts';
import { ACROSS, BUDGETS } from './factorize/rank.ts';
import { WHITEN_BY } from './lowrank/whiten-by.ts';
import { METHODS, type Method, MOST_ROUNDS } from './methods/method.ts';
import { PRUNE_BUDGETS } from './pruning/budget.ts';
import { LAYER_SHARES, type PruneRule, REPAIRS, SCORES } from './pruning/pruning.ts';
import type { Rotation } from './rotation/rotation.ts';
import { SHRINK_LAYERS, SHRINK_REPAIRS, SHRINK_SCORES, type ShrinkRule } from './shrinking/shrinking.ts';

/** What a tensor is for: as the graph says, or guessed from its name where there is no graph. */
export const ROLES = ['linear', 'embedding', 'head', 'norm', 'bias', 'other'] as const;
/** One of them. */
export type Role = (typeof ROLES)[number];

/** Limits of a recipe (CWE-400): globs become regular expressions that run over every name. */
export const MAX_RULES = 1024;
export const MAX_GLOB_LENGTH = 256;
/** Each goes through all of the calibration. */
const MOST_PRUNING_ROUNDS = 64;

const glob = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_GLOB_LENGTH));

/** One rule of a recipe. */
export interface Rule {
  /** Names that the rule is for; `*` matches any run of characters, dots included. */
  match: string | string[];
  /** Only tensors with this part in the model. */
  role?: Role | undefined;
  /** A format's name, or `keep`. */
  format: string;
  /** How codes and scales are chosen; default: scales are searched for where the format allows it. */
  method?: Method | undefined;
  /** Rounds in which scales, and with gptq codes, are refined against a calibration; default: 3 with gptq, 8 where it also prunes, else none. */
  refine?: number | undefined;
  /** Which weights go before anything else is done to the others. */
  prune?: PruneRule | undefined;
  /** Make it a product of two of lower rank, or keep what the format has lost as one. */
  factorize?: FactorRule | undefined;
}

/**
 * Which format each matrix gets, and which weights it loses before, as plain data: the first rule that matches decides, and what no rule matches is kept.
 * Rules are about matrices; vectors and tensors of integers are always kept.
 */
export interface Recipe {
  version: 1;
  rules: Rule[];
  /** Rotate the model first, so that large values of few columns spread over all. */
  rotation?: Rotation | undefined;
  /** Remove channels or heads first, so that matrices get smaller; rules are about what is left. */
  shrink?: ShrinkRule | undefined;
}

const rounds = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MOST_PRUNING_ROUNDS));

const budget = {
  keep: v.optional(v.pipe(v.number(), v.gtValue(0))),
  budget: v.optional(v.picklist(PRUNE_BUDGETS)),
};

/** How to prune. */
export const PruneSchema = v.strictObject({
  pattern: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  score: v.optional(v.picklist(SCORES)),
  repair: v.optional(v.picklist(REPAIRS)),
  layers: v.optional(v.picklist(LAYER_SHARES)),
  packed: v.optional(v.boolean()),
  rounds: v.optional(rounds),
  ...budget,
}) satisfies v.GenericSchema<unknown, PruneRule>;

const share = v.pipe(v.number(), v.gtValue(0), v.maxValue(1));

/** How to factor. */
export const FactorSchema = v.strictObject({
  rank: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  keep: v.optional(share),
  across: v.optional(v.picklist(ACROSS)),
  budget: v.optional(v.picklist(BUDGETS)),
  energy: v.optional(share),
  residual: v.optional(v.boolean()),
  factors: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(64))),
  whiten: v.optional(v.picklist(WHITEN_BY)),
  seed: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1))),
}) satisfies v.GenericSchema<unknown, FactorRule>;

/** One rule. */
export const RuleSchema = v.strictObject({
  match: v.union([glob, v.pipe(v.array(glob), v.minLength(1), v.maxLength(MAX_RULES))]),
  role: v.optional(v.picklist(ROLES)),
  format: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  method: v.optional(v.picklist(METHODS)),
  refine: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MOST_ROUNDS))),
  prune: v.optional(PruneSchema),
  factorize: v.optional(FactorSchema),
}) satisfies v.GenericSchema<unknown, Rule>;

/** How to rotate a model. */
export const RotationSchema = v.strictObject({
  seed: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1)),
  inner: v.optional(v.boolean()),
}) satisfies v.GenericSchema<unknown, Rotation>;

/** Which structures go. */
export const ShrinkSchema = v.strictObject({
  pattern: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  score: v.optional(v.picklist(SHRINK_SCORES)),
  repair: v.optional(v.picklist(SHRINK_REPAIRS)),
  seed: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1))),
  layers: v.optional(v.picklist(SHRINK_LAYERS)),
  rounds: v.optional(rounds),
  ...budget,
}) satisfies v.GenericSchema<unknown, ShrinkRule>;

/** A whole recipe, for the published JSON schema. */
export const RecipeSchema = v.strictObject({
  version: v.literal(1),
  rules: v.pipe(v.array(RuleSchema), v.maxLength(MAX_RULES)),
  rotation: v.optional(RotationSchema),
  shrink: v.optional(ShrinkSchema),
}) satisfies v.GenericSchema<unknown, Recipe>;
