import { ArgumentError } from '../errors.ts';
import { checkGroup, type SparsePattern } from '../formats/packed-layout.ts';

/** What is compared with each other where the least are removed: the blocks of a row of blocks, of a matrix, or of all matrices. */
export const SCOPES = ['row', 'layer', 'model'] as const;
/** One of them. */
export type Scope = (typeof SCOPES)[number];

/** How much is removed: a share, rounded down to whole blocks, or so many blocks. */
export type Removal = { readonly fraction: number } | { readonly count: number };

/** Which weights of a matrix go. */
export type MaskPattern =
  /** Of each `of` weights next to each other in a row the `keep` largest stay; `rows` rows that follow each other share their pattern (default 1). */
  | SparsePattern
  /** Blocks of the least score go, of equal ones the last: single weights, where a block is 1 x 1. */
  | {
      readonly kind: 'ranked';
      readonly rows: number;
      readonly columns: number;
      readonly scope: Scope;
      readonly remove: Removal;
    };

const isSize = (size: number): boolean => Number.isInteger(size) && size >= 1 && size <= 65536;

/** @throws ArgumentError that says which values would work */
export function checkPattern(pattern: MaskPattern): void {
  if (pattern.kind === 'n:m') {
    const { rows = 1 } = pattern;
    checkGroup(pattern);
    if (!isSize(rows)) throw new ArgumentError(`${rows} rows can't share a pattern; give a whole number from 1.`);
    return;
  }
  const { rows, columns, remove } = pattern;
  if (!isSize(rows) || !isSize(columns)) {
    throw new ArgumentError(`There are no blocks of ${rows} x ${columns}; give whole numbers from 1 to 65536.`);
  }
  if ('count' in remove) {
    if (!Number.isSafeInteger(remove.count) || remove.count < 1) {
      throw new ArgumentError(`${remove.count} blocks can't be removed; give a whole number from 1.`);
    }
  } else if (!(remove.fraction > 0 && remove.fraction < 1)) {
    throw new ArgumentError(
      `A share of ${remove.fraction} can't be removed; give one above 0 and below 1 (0% to 100%), so that something is left.`,
    );
  }
}

/** Blocks of a matrix, down and across; those at its edges may be cut. */
export function blocksOf(
  { rows: height = 1, columns: width = 1 }: { readonly rows?: number; readonly columns?: number },
  rows: number,
  k: number,
): { readonly rows: number; readonly k: number } {
  return { rows: Math.ceil(rows / height), k: Math.ceil(k / width) };
}

/** A share of some whole things, rounded down; products that rounding to f64 left just below a whole number, as 0.29 · 100, are that number. */
export const wholeShare = (fraction: number, total: number): number =>
  Math.floor(fraction * total * (1 + 4 * Number.EPSILON));

/**
 * How many of `blocks` stay.
 * @throws ArgumentError where none would
 */
export function keptOf(remove: Removal, blocks: number, what: string): number {
  const removed = 'count' in remove ? remove.count : wholeShare(remove.fraction, blocks);
  if (removed < blocks) return blocks - removed;
  throw new ArgumentError(`${what}: removing ${removed} of ${blocks} leaves nothing; remove at most ${blocks - 1}.`);
}

/** Words of 32 bits that the mask of a matrix takes: bit i of a row's word j is column 32j + i, set where the weight stays. */
export const maskWords = (rows: number, k: number): number => rows * Math.ceil(k / 32);
