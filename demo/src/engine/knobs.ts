import { checkRow } from '../../../src/formats/checks.ts';
import { INTEGER_GROUPS, integerName } from '../../../src/formats/integer-names.ts';
import {
  type Format,
  FormatError,
  formatByName,
  formats,
  type MaskPattern,
  METHODS,
  type Method,
  parsePattern,
} from '../../../src/index.ts';
import { defaultMethod, methodProblem, needsCalibration } from '../../../src/passes/methods/method.ts';
import type { Knobs } from '../view-state.ts';

/** How a tensor is compressed, checked. */
export interface Plan {
  /** Undefined: weights stay f32. */
  readonly format: Format | undefined;
  readonly method: Method;
  readonly pattern: MaskPattern | undefined;
  /** Only what the pattern keeps is stored. */
  readonly packed: boolean;
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

/** @throws FormatError, ArgumentError, RecipeError that say what would work */
export function planOf({ format: name, method, pattern, packed, rank }: Knobs, rows: number, k: number): Plan {
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
  return {
    format,
    method: method && methods.includes(method) ? method : format ? defaultMethod(format) : 'rtn',
    // What the engine prunes are matrices, not their factors.
    pattern: pattern && factors === 0 ? parsePattern(pattern) : undefined,
    packed: packed === true && factors === 0,
    rank: factors,
  };
}
