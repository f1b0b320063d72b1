import { ArgumentError } from '../../errors.ts';

/** How far matrices are cut down: one of these. */
export interface RankTarget {
  /** Parameters that stay of each matrix, as a share: above 0 and below 1. */
  readonly keep?: number;
  /** Singular values that stay of each matrix. */
  readonly rank?: number;
  /** Share of the sum of squares of singular values that stays of each matrix at least, above 0 and up to 1. */
  readonly energy?: number;
  /** With `keep`: of what the parameters are a share. `model`: of all matrices of a rule together, with ranks that lose least by their singular values. Default: of each matrix. */
  readonly across?: Across;
  /** With a share of the model: of its parameters (default), or of the time that its products of a token take on the device, which is measured. */
  readonly budget?: Budget;
}

export const ACROSS = ['matrix', 'model'] as const;
export type Across = (typeof ACROSS)[number];

export const BUDGETS = ['parameters', 'time'] as const;
export type Budget = (typeof BUDGETS)[number];

/** @throws ArgumentError unless there is one target, which makes sense */
export function checkRankTarget({ keep, rank, energy, across, budget }: RankTarget): void {
  if ([keep, rank, energy].filter((value) => value !== undefined).length !== 1) {
    throw new ArgumentError('Give one of keep, rank and energy.');
  }
  if (across === 'model' && keep === undefined) {
    throw new ArgumentError('A rank, or an energy, is one of each matrix: give a share to keep across the model.');
  }
  if (budget !== undefined && across !== 'model') {
    throw new ArgumentError('A budget is one of the model: give a share to keep across the model.');
  }
  if (keep !== undefined && !(keep > 0 && keep < 1)) {
    throw new ArgumentError(`The share to keep is ${keep}: give a number above 0 and below 1.`);
  }
  if (rank !== undefined && !(Number.isSafeInteger(rank) && rank >= 1)) {
    throw new ArgumentError(`The rank is ${rank}: give a whole number from 1 on.`);
  }
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new ArgumentError(`The energy is ${energy}: give a number above 0 and up to 1.`);
  }
}

/** Whether factors of that rank have fewer parameters than the matrix. */
export const pays = (rank: number, rows: number, columns: number): boolean => rank * (rows + columns) < rows * columns;

/** The rank that a target says by sizes alone, at least 1; undefined where it takes the singular values. */
export function rankBySize({ keep, rank, across }: RankTarget, rows: number, columns: number): number | undefined {
  if (keep === undefined || across === 'model') return rank;
  return Math.max(1, Math.floor((keep * rows * columns) / (rows + columns)));
}
