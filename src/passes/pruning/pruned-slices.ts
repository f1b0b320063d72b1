import type { Checkpoint } from '../../files/checkpoint.ts';
import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { applyMaskStep } from '../../kernels/apply-mask.ts';
import { blocksOf, keptOf, type MaskPattern, maskWords } from '../../kernels/mask-pattern.ts';
import { type DenseSlice, denseSlices, sliceRows } from '../dense-slices.ts';
import type { PlannedTensor } from '../plan.ts';
import { alikeRows } from './alike-rows.ts';
import { Threshold } from './find-mask.ts';
import { type PrunedRows, type PruneInputs, pruneRows } from './prune-rows.ts';
import { growing, type Pruning } from './pruning.ts';
import type { PruningRounds } from './rounds.ts';

/** What slices of a matrix come from. */
export interface SliceSource {
  readonly gpu: Gpu;
  readonly checkpoint: Pick<Checkpoint, 'read' | 'name'>;
  readonly signal?: AbortSignal;
  /** Where matrices are pruned in several. */
  readonly rounds?: PruningRounds;
}

const F32 = formatByName('f32');

const bandOf = ({ pattern }: Pruning): number => pattern.rows ?? 1;

function rowsOfTensor({ weight, prune }: PlannedTensor) {
  const [rows, k] = weight.shape as [number, number];
  if (weight.kind !== 'dense' || !prune) throw new Error('Only dense matrices are pruned.');
  return { rows, k, info: weight.info, prune };
}

/**
 * The thresholds of patterns that compare all matrices of a rule: each is gone through three times.
 * @param tensors in the order in which they will be pruned
 * @throws ArgumentError where nothing would be left; NonFiniteError, FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function modelThresholds(
  { gpu, checkpoint, signal }: SliceSource,
  tensors: readonly PlannedTensor[],
  formatOf: (tensor: PlannedTensor) => Format,
): Promise<Map<Pruning, Threshold>> {
  const thresholds = new Map<Pruning, Threshold>();
  const rules = new Set(tensors.flatMap(({ prune }) => prune ?? []));
  try {
    for (const rule of rules) {
      const { pattern } = rule;
      if (pattern.kind !== 'ranked' || pattern.scope !== 'model') continue;
      const of = tensors.filter(({ prune }) => prune === rule);
      const threshold = new Threshold(gpu, pattern);
      thresholds.set(rule, threshold);
      const shapes = of.map(rowsOfTensor);
      await threshold.find(
        shapes,
        async function* () {
          for (const [i, { info }] of shapes.entries()) {
            yield* denseSlices(gpu, checkpoint, info, formatOf(of[i]!), signal, bandOf(rule));
          }
        },
        signal,
      );
    }
    return thresholds;
  } catch (error) {
    for (const threshold of thresholds.values()) threshold.release();
    throw error;
  }
}

/** Rows of a matrix that were pruned. */
export interface PrunedSlice extends DenseSlice {
  readonly pruned: PrunedRows;
  /** What stays of them, where they are packed or the same sweep chooses codes. */
  readonly mask?: BufferView;
  /** The rows as they were, for that sweep. */
  readonly original?: BufferView;
}

/**
 * The rows of a matrix, pruned, as many at a time as there is room for. Over a layer that is more than one slice, weights are compared with all of it; where they
 * are repaired as well, with those of their slice.
 * @param shared the threshold of all matrices of its rule, where its pattern compares them
 * @param swept one sweep prunes them and chooses their codes: slices bring what it needs
 * @throws NonFiniteError naming the weight; ArgumentError where nothing would be left; FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function* prunedSlices(
  { gpu, checkpoint, signal, rounds }: SliceSource,
  tensor: PlannedTensor,
  format: Format,
  inputs: PruneInputs,
  shared: Threshold | undefined,
  swept = false,
): AsyncGenerator<PrunedSlice> {
  const { rows, k, info, prune } = rowsOfTensor(tensor);
  const { pattern } = prune;
  const band = bandOf(prune);
  const round = rounds?.roundOf(tensor);
  const slices = () => denseSlices(gpu, checkpoint, info, format, signal, band);
  const maskBefore = ({ rowStart, rows }: DenseSlice, scratch: Scratch) => {
    const mask = round && rounds?.maskOf(tensor, rowStart, rows);
    return mask && scratch.upload(mask, 'mask before');
  };
  const overAll = pattern.kind === 'ranked' && pattern.scope === 'layer' && rows > sliceRows(gpu, k, format, band);
  const { factors } = inputs;
  const [ranked = pattern] = growing(pattern, 1, round);
  const own = overAll && !inputs.repair && ranked.kind === 'ranked' ? new Threshold(gpu, ranked) : undefined;
  try {
    await own?.find(
      [{ rows, k }],
      async function* () {
        for await (const slice of slices()) {
          const scratch = new Scratch(gpu);
          try {
            const mask = maskBefore(slice, scratch);
            const { view: data, rows, k } = slice;
            if (mask) await gpu.scheduler.run([applyMaskStep({ format: F32, data, mask, rows, k })]);
            yield { ...slice, ...(factors && { factors }) };
          } finally {
            scratch.release();
          }
        }
      },
      signal,
    );
    for await (const slice of slices()) {
      const share = overAll && !own ? shareOf(pattern, slice, rows) : undefined;
      const scratch = new Scratch(gpu);
      try {
        const mask = prune.packing || swept ? scratch.room(4 * maskWords(slice.rows, k), 'mask') : undefined;
        const original = swept ? scratch.room(4 * slice.rows * k, 'original weights') : undefined;
        const to = { maskTo: mask, originalTo: original, round, before: maskBefore(slice, scratch) };
        const here = share && pattern.kind === 'ranked' ? { ...pattern, remove: { count: share.count } } : pattern;
        const pruned = await (share && (share.count === 0 || share.count === share.of)
          ? alikeRows(gpu, slice, share.count === 0, inputs, { signal, ...to })
          : pruneRows(gpu, slice, here, shared ?? own, inputs, { signal, ...to }));
        if (round && !rounds?.isLast) rounds?.keep(tensor, slice.rowStart, pruned.mask);
        yield { ...slice, pruned, ...(mask && { mask }), ...(original && { original }) };
      } finally {
        scratch.release();
      }
    }
  } finally {
    own?.release();
  }
}

/** How many blocks of some rows go, of how many: all slices together, what a pattern over a layer removes from it. */
function shareOf(
  pattern: MaskPattern & { kind: 'ranked' },
  { rowStart, rows, k }: DenseSlice,
  all: number,
): { readonly count: number; readonly of: number } {
  const of = (count: number) => {
    const blocks = blocksOf(pattern, count, k);
    return blocks.rows * blocks.k;
  };
  const removed = of(all) - keptOf(pattern.remove, of(all), 'The pattern');
  // Their product may be beyond what a number holds exactly.
  const before = (count: number) => (count === all ? removed : Math.floor(removed * (of(count) / of(all))));
  return {
    count: before(rowStart + rows) - before(rowStart),
    of: of(rowStart + rows) - of(rowStart),
  };
}
