import { checkRow } from '../../../src/formats/checks.ts';
import { INTEGER_GROUPS, integerName } from '../../../src/formats/integer-names.ts';
import { packedFormat } from '../../../src/formats/packed.ts';
import { checkPackedRow } from '../../../src/formats/packed-layout.ts';
import {
  CompressaError,
  type Format,
  FormatError,
  formatByName,
  formats,
  type MaskPattern,
  METHODS,
  type Method,
  parsePattern,
  RecipeError,
} from '../../../src/index.ts';
import { defaultMethod, methodProblem, needsCalibration } from '../../../src/passes/methods/method.ts';
import { compileRecipe } from '../../../src/passes/recipe.ts';
import type { Knobs } from '../view-state.ts';
import { recipeOfKnobs } from './recipe-of-knobs.ts';

/** A pattern, the format of what it keeps, and the layout of both. */
export type Packing = NonNullable<Format['packed']>;

/** How a tensor is compressed, checked. */
export interface Plan {
  /** Undefined: weights stay f32. */
  readonly format: Format | undefined;
  readonly method: Method;
  readonly pattern: MaskPattern | undefined;
  /** How what the pattern keeps is stored, where it is stored alone. */
  readonly packing: Packing | undefined;
  /** 0: no factors. */
  readonly rank: number;
}

/** Formats that a list offers: all that the engine lists, those of integer groups once for each kind, since the group is a knob of its own. */
export function formatChoices(): string[] {
  const kinds = new Set<string>();
  const names = formats.flatMap((format) => {
    if (!format.integer) return [format.name];
    const kind = kindOf(format.integer);
    if (kinds.has(kind)) return [];
    kinds.add(kind);
    return [kind];
  });
  return ['keep', ...names];
}

type Integer = NonNullable<Format['integer']>;
/** Weights that share a scale. */
export type Group = Integer['group'];
const kindOf = (integer: Integer): string => integerName({ ...integer, group: 64 }).replace('-g64', '');

/** The kind under which `formatChoices` has a format, and its group where that is a knob. */
export function choiceOf(name: string): { readonly choice: string; readonly group: Group | undefined } {
  if (name === 'keep') return { choice: name, group: undefined };
  const { integer, name: proper } = formatByName(name);
  return integer ? { choice: kindOf(integer), group: integer.group } : { choice: proper, group: undefined };
}

/** The format of a kind and group. */
export function formatOf(choice: string, group: Group | undefined): string {
  if (choice === 'keep') return choice;
  const match = /^int(\d)(.*)$/.exec(choice);
  return match && group !== undefined ? `int${match[1]}-${group === 'row' ? 'row' : `g${group}`}${match[2]}` : choice;
}

/** Groups of integers, and which of them divide rows of `k` weights. */
export const groupChoices = (k: number): Group[] =>
  INTEGER_GROUPS.filter((group) => group === 'row' || k % group === 0);

/** Methods for a format that need to know nothing but the tensor. */
export const methodChoices = (format: string): Method[] =>
  format === 'keep' || formatByName(format).kind === 'dense'
    ? []
    : METHODS.filter(
        (method) => !needsCalibration(method) && methodProblem(method, formatByName(format)) === undefined,
      );

/**
 * What the engine makes of the knobs for a tensor; it refuses what the engine refuses.
 * @param type in which the file holds the tensor, where that is dense
 * @throws FormatError, ArgumentError, RecipeError that say what would work
 */
export function planOf(knobs: Knobs, rows: number, k: number, type = 'f32'): Plan {
  const { format: name, method, pattern, packed, rank } = knobs;
  const format = name === 'keep' ? undefined : formatByName(name);
  const factors = rank > 0 && rank < Math.min(rows, k) ? rank : 0;
  if (format) {
    if (factors === 0) checkRow(format, k, 'this tensor');
    else if (rank % format.block !== 0 || k % format.block !== 0) {
      throw new FormatError(
        `Factors of rank ${rank} have rows of ${rank}, which blocks of ${format.block} (${format.name}) do not divide: take a multiple of ${format.block}, or format keep.`,
      );
    }
  }
  const methods = methodChoices(name);
  const chosen = method && methods.includes(method) ? method : undefined;
  try {
    compileRecipe(recipeOfKnobs({ ...knobs, method: chosen, rank: factors }));
  } catch (error) {
    if (!(error instanceof CompressaError)) throw error;
    // The knobs are a recipe of one rule: where in it the mistake is says nothing here.
    const text = error.message.replace(/^The recipe: rules\.0\.\w+: /, '');
    throw new RecipeError(text.charAt(0).toUpperCase() + text.slice(1), { cause: error });
  }
  // What the engine prunes are matrices, not their factors.
  const mask = pattern && factors === 0 ? parsePattern(pattern) : undefined;
  const packs = packed === true && mask?.kind === 'n:m';
  if (packs) checkPackedRow(mask, format ?? denseFormat(type), k, 'this tensor');
  return {
    format,
    method: chosen ?? (format ? defaultMethod(format) : 'rtn'),
    pattern: mask,
    packing: packs ? packedFormat(format ?? denseFormat(type), mask).packed : undefined,
    rank: factors,
  };
}

/** The format of a tensor that stays dense: what is no float of 16 bits is written as f32. */
export const denseFormat = (type: string): Format => formatByName(['f16', 'bf16'].includes(type) ? type : 'f32');
