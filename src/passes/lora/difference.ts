import { ModelError } from '../../errors.ts';
import { checkCancelled } from '../../files/cancel.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import { quote } from '../../files/text.ts';
import {
  type AnyWeight,
  allWeightsOf,
  chunkRows,
  matrixShape,
  readValues,
  type StoredWeight,
} from '../stored-weight.ts';

/** A weight that two checkpoints have, in the same shape. */
export interface WeightPair {
  readonly name: string;
  readonly shape: readonly number[];
  readonly base: StoredWeight;
  readonly tuned: StoredWeight;
}

/** Rows of the two, and of their difference. */
export interface DifferenceRows {
  readonly start: number;
  /** tuned − base, in f32. */
  readonly values: Float32Array;
  readonly base: Float32Array;
}

/** Types that hold numbers; others, such as positions, are no weights. */
const FLOATS = /^(F64|F32|F16|BF16)$/;

/**
 * What two checkpoints have in common, in the order of names: everything that holds numbers.
 * @throws ModelError where one lacks a weight of the other, or has it in another shape; FileError for weights that can't be computed with
 */
export function pairWeights(base: Checkpoint, tuned: Checkpoint): WeightPair[] {
  const [ours, theirs] = [allWeightsOf(base), allWeightsOf(tuned)];
  const lacks = (where: Checkpoint, other: Checkpoint, name: string) =>
    new ModelError(
      `${where.name}: it lacks the weight ${quote(name)}, which ${other.name} has. The two have to be of one model: take the base that was tuned.`,
    );
  for (const [name, weight] of theirs) if (isNumbers(weight) && !ours.has(name)) throw lacks(base, tuned, name);
  const pairs: WeightPair[] = [];
  for (const [name, weight] of ours) {
    if (!isNumbers(weight)) continue;
    const other = theirs.get(name);
    if (!other) throw lacks(tuned, base, name);
    if (!isNumbers(other) || String(weight.shape) !== String(other.shape)) {
      throw new ModelError(
        `${tuned.name}: weight ${quote(name)} is ${describe(other)}, but in ${base.name} ${describe(weight)}. The two have to be of one model: take the base that was tuned.`,
      );
    }
    pairs.push({ name, shape: weight.shape, base: weight, tuned: other });
  }
  return pairs;
}

function describe(weight: AnyWeight): string {
  if (weight.kind === 'quantized') return `[${weight.shape}]`;
  return `[${weight.shape}] of ${weight.kind === 'opaque' ? weight.type : weight.info.type}`;
}

const isNumbers = (weight: AnyWeight): weight is StoredWeight =>
  weight.kind === 'quantized' || (weight.kind === 'dense' && FLOATS.test(weight.info.type));

/** Reads a pair from front to back, some rows at a time. */
export async function* differenceRows(
  base: Checkpoint,
  tuned: Checkpoint,
  pair: WeightPair,
  signal?: AbortSignal,
): AsyncGenerator<DifferenceRows> {
  const rows = pair.shape[0] ?? 1;
  const { k } = matrixShape(pair.shape);
  const most = chunkRows(4 * (pair.shape.length < 2 ? 1 : k));
  for (let start = 0; start < rows; start += most) {
    checkCancelled(signal);
    const count = Math.min(most, rows - start);
    const before = await readValues(base, pair.base, start, count, signal);
    const values = await readValues(tuned, pair.tuned, start, count, signal);
    for (let i = 0; i < values.length; i++) values[i]! -= before[i]!;
    yield { start, values, base: before };
  }
}

/** Whether a pair differs at all: ends at the first rows that do. */
export async function differs(
  base: Checkpoint,
  tuned: Checkpoint,
  pair: WeightPair,
  signal?: AbortSignal,
): Promise<boolean> {
  for await (const { values } of differenceRows(base, tuned, pair, signal)) {
    // NaN differs, too: whoever factors it names it.
    if (values.some((value) => value !== 0)) return true;
  }
  return false;
}
