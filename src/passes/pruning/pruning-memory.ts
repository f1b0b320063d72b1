import { CHOLESKY_BLOCK } from '../../kernels/cholesky.ts';
import { CODES_BLOCK } from '../../kernels/choose-codes.ts';
import { maskWords } from '../../kernels/mask-pattern.ts';
import { maskRoom, SELECTION_BYTES } from '../../kernels/select-mask.ts';
import { outputFormat } from '../compress-matrix.ts';
import { sliceRows } from '../dense-slices.ts';
import type { PlannedTensor } from '../plan.ts';
import { needsHessian } from './pruning.ts';

/** What pruning a matrix takes on the GPU, in bytes, besides H. */
export interface PruningMemory {
  /** While some of its rows are pruned. */
  readonly pruning: number;
  /** What is there while those rows are then stored. */
  readonly beside: number;
}

const total = (sizes: object): number => Object.values(sizes).reduce((sum, bytes) => sum + bytes, 0);

/** Estimates it: follows `pruneRows`, and `sweptRows` for what is beside. @param tensor that is pruned */
export function pruningMemory({ prune, weight, factors, ...tensor }: PlannedTensor): PruningMemory {
  const { pattern, score, repair, rounds, packing, layers } = prune!;
  const format = factors?.base ?? outputFormat({ weight, ...tensor });
  const [all, k] = weight.shape as [number, number];
  const rows = Math.min(all, sliceRows({ bindingLimit: Number.POSITIVE_INFINITY }, k, format, pattern.rows));
  const [values, mask] = [4 * rows * k, 4 * maskWords(rows, k)];
  const { method, refine = 0 } = tensor;
  const inOneSweep = method === 'gptq';
  // H in order, its factor, and both orders of columns.
  const factored = needsHessian(prune!) ? 8 * k * k + 8 * k : 0;
  const inverse = score === 'obs' ? 4 * k * k + 4 * CHOLESKY_BLOCK * k : 0;
  // The rows as they are stored, at most 32 bits each, and in f32.
  const slice = 2 * values;
  const handed = (packing || inOneSweep ? mask : 0) + (inOneSweep ? values : 0) + (rounds ? mask : 0);
  const original = inOneSweep ? 0 : values;
  // A threshold that more rows share has a room of its own.
  const shared = pattern.kind === 'ranked' && pattern.scope !== 'row' ? 1 : 0;
  const finding = 2 * mask + (1 + shared) * total(SELECTION_BYTES) + total(maskRoom(pattern, rows, k));
  const fitting = repair === 'obs' ? 3 * values + 4 * CODES_BLOCK * rows + 4 * Math.max(rows, k) : 0;
  // What the rows lost, and the rooms of its error.
  const errors = 3 * values;
  const measured = layers === 'sensitivity' ? values : 0;
  const pruned = slice + handed + original + finding + fitting + errors + measured;
  const kept = inOneSweep ? 2 * values + (packing ? values : 0) : 0;
  const counted = inOneSweep || refine > 0 ? 0 : factored;
  return { pruning: factored + 8 * k + Math.max(inverse, pruned), beside: counted + handed + kept };
}
