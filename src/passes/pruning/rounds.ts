import { maskWords } from '../../kernels/mask-pattern.ts';
import type { PlannedTensor } from '../plan.ts';

/** One of several rounds in which a matrix is pruned. */
export interface Round {
  /** From 1. */
  readonly number: number;
  readonly of: number;
}

/** Bytes on the host that the masks of matrices take, which are pruned in several rounds. */
export const roundBytes = (tensors: readonly PlannedTensor[]): number =>
  tensors.reduce((sum, { prune, weight }) => {
    const [rows, k] = weight.shape as [number, number];
    return sum + (prune?.rounds ? 4 * maskWords(rows, k) : 0);
  }, 0);

/**
 * What the rounds so far took from each matrix: a bit a weight, on the host. Weights themselves are not kept, since each round fits those that stay to the original ones.
 * Matrices with fewer rounds than others begin later, so that all end together.
 */
export class PruningRounds {
  readonly of: number;
  /** The one that runs. */
  number = 1;
  readonly #masks = new Map<string, Uint32Array>();

  constructor(tensors: readonly PlannedTensor[]) {
    this.of = Math.max(1, ...tensors.map(({ prune }) => prune?.rounds ?? 1));
  }

  get isLast(): boolean {
    return this.number === this.of;
  }

  /** The round of a matrix; undefined where it has one, or its first is still to come. */
  roundOf({ prune }: PlannedTensor): Round | undefined {
    const rounds = prune?.rounds ?? 1;
    const number = this.number - (this.of - rounds);
    return rounds > 1 && number >= 1 ? { number, of: rounds } : undefined;
  }

  /** What the last round left of some rows; undefined where this is the first. */
  maskOf(tensor: PlannedTensor, rowStart: number, rows: number): Uint32Array | undefined {
    const { number = 1 } = this.roundOf(tensor) ?? {};
    if (number === 1) return undefined;
    const words = maskWords(1, tensor.weight.shape[1]!);
    return this.#masks.get(tensor.name)!.slice(rowStart * words, (rowStart + rows) * words);
  }

  /** Keeps what this round left of some rows for the next. */
  keep({ name, weight }: PlannedTensor, rowStart: number, mask: Uint32Array): void {
    const [rows, k] = weight.shape as [number, number];
    const all = this.#masks.get(name) ?? new Uint32Array(maskWords(rows, k));
    all.set(mask, rowStart * maskWords(1, k));
    this.#masks.set(name, all);
  }
}

/** A matrix in a round that is not the last: it is pruned, and nothing else. */
export function inRound(tensor: PlannedTensor): PlannedTensor {
  const { name, weight, report, specs, prune, compensates } = tensor;
  const plain = { name, weight, report, specs, target: undefined };
  if (!prune) return { ...plain, ...(compensates !== undefined && { compensates }) };
  const { packing: _, ...zeros } = prune;
  return { ...plain, prune: zeros };
}
