import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { applyMaskStep } from '../../kernels/apply-mask.ts';
import { CODES_BLOCK } from '../../kernels/choose-codes.ts';
import { type MaskPattern, maskWords } from '../../kernels/mask-pattern.ts';
import { addGatheredStep, gatherColumnsStep } from '../../kernels/permute.ts';
import { refitKeptSteps } from '../../kernels/refit-kept.ts';
import { differenceStep } from '../../kernels/rows.ts';
import type { FactoredHessian } from '../methods/factored-hessian.ts';
import { type DenseRows, matrixError } from '../methods/matrix-error.ts';
import { maskedRows, maskSteps, selectionRoom, type Threshold } from './find-mask.ts';
import { growing } from './pruning.ts';
import type { Round } from './rounds.ts';

/** What is known of the inputs of a matrix that is pruned. */
export interface PruneInputs {
  /** f32 [k]: what weights are multiplied by to be ranked; undefined: by their size. */
  readonly factors?: BufferView | undefined;
  /** f32 [k, k] */
  readonly hessian?: BufferView | undefined;
  /** Where the weights that stay are to make up for those that go. */
  readonly repair?: FactoredHessian | undefined;
}

/** What pruning some rows came to. */
export interface PrunedRows {
  /** Weights that stay. */
  readonly kept: number;
  /** A bit for each weight: see `maskWords`. */
  readonly mask: Uint32Array;
  /** tr(ΔW H ΔWᵀ), and of leaving the rows out. */
  readonly errors: { readonly pruned: number; readonly all: number };
}

/** Where pruned rows leave what else is wanted of them, and the round that they are in. */
export interface PruneRowsOptions {
  readonly signal?: AbortSignal | undefined;
  /** Receives the mask. */
  readonly maskTo?: BufferView | undefined;
  /** Receives the rows as they were. */
  readonly originalTo?: BufferView | undefined;
  readonly round?: Round | undefined;
  /** In one of several rounds the mask of the last. */
  readonly before?: BufferView | undefined;
}

/** Masks in turn, each removing more than the one before, the weights that stay being fitted between them. */
const STEPS = 8;
/** Rounds of coordinate descent behind each, and behind the last. */
const DESCENTS = { between: 1, last: 8 } as const;

/**
 * Prunes some finite rows in place. With `repair` in steps: a mask, SparseGPT's update, coordinate descent; the next mask is chosen on what that made.
 * @param pattern for these rows by themselves, or a threshold that more rows share
 * @throws ArgumentError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function pruneRows(
  gpu: Gpu,
  dense: DenseRows,
  pattern: MaskPattern,
  threshold: Threshold | undefined,
  { factors, hessian, repair }: PruneInputs,
  { signal, maskTo, originalTo, round, before }: PruneRowsOptions = {},
): Promise<PrunedRows> {
  const { view, rows, k } = dense;
  const count = rows * k;
  const scratch = new Scratch(gpu);
  const format = formatByName('f32');
  try {
    const run = (steps: Parameters<typeof gpu.scheduler.run>[0]) =>
      gpu.scheduler.run(steps, { label: 'The pruning', ...(signal && { signal }) });
    const original = originalTo ?? scratch.room(4 * count, 'original weights');
    copyView(gpu, view, original, 4 * count);
    const matrix = maskedRows(gpu, scratch, dense, pattern, factors);
    const { mask } = matrix;
    const apply = applyMaskStep({ format, data: view, mask, rows, k });
    const room = selectionRoom(scratch);
    const words = maskWords(rows, k);
    // What went before has no weight any more, so that it goes first.
    if (before) copyView(gpu, before, mask, 4 * words);
    if (!repair) {
      if (before) await run([apply]);
      const [here] = growing(pattern, 1, round) as [MaskPattern];
      await run([...(threshold ? threshold.steps(matrix) : maskSteps(matrix, here, room)), apply]);
    } else {
      const identity = scratch.upload(
        Uint32Array.from({ length: Math.max(rows, k) }, (_, i) => i),
        'rows',
      );
      const weights = scratch.room(4 * count, 'columns');
      const errors = scratch.room(4 * count, 'errors');
      const turned = scratch.room(4 * count, 'errors by rows');
      const { order, place, factor, matrix: inOrder } = repair;
      const fit = {
        ...{ weights, order, mask, errors, rows, k },
        scratch: scratch.room(4 * CODES_BLOCK * rows, 'products'),
      };
      await run([gatherColumnsStep({ weights: original, order, out: weights, rows, k })]);
      const patterns = [...(before ? [undefined] : []), ...growing(pattern, STEPS, round)];
      for (const [i, here] of patterns.entries()) {
        const descents = i === patterns.length - 1 ? DESCENTS.last : DESCENTS.between;
        if (here) await run(maskSteps(matrix, here, room));
        gpu.clear(errors.buffer, 4 * count);
        await run(refitKeptSteps({ ...fit, matrix: factor, pass: 'factor' }));
        for (let round = 0; round < descents; round++) {
          await run(refitKeptSteps({ ...fit, matrix: inOrder, pass: 'descent' }));
        }
        copyView(gpu, original, view, 4 * count);
        await run([
          gatherColumnsStep({ weights: errors, order: identity, out: turned, rows: k, k: rows }),
          addGatheredStep({ x: turned, place, weights: view, share: -1, rows, k }),
          apply,
        ]);
      }
    }
    const lost = scratch.room(4 * count, 'lost');
    await run([differenceStep({ a: original, b: view, out: lost, count })]);
    if (maskTo) copyView(gpu, mask, maskTo, 4 * words);
    const bits = new Uint32Array((await gpu.readBack(mask.buffer, 0, 4 * words)).buffer);
    return {
      kept: bits.reduce((sum, word) => sum + bitsOf(word), 0),
      mask: bits,
      errors: {
        pruned: await matrixError(gpu, { dense: { ...dense, view: lost }, hessian }),
        all: await matrixError(gpu, { dense: { ...dense, view: original }, hessian }),
      },
    };
  } finally {
    scratch.release();
  }
}

/** Copies bytes from one view to another. */
export function copyView(gpu: Gpu, from: BufferView, to: BufferView, size: number): void {
  const encoder = gpu.device.createCommandEncoder({ label: 'copy' });
  encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, size);
  gpu.device.queue.submit([encoder.finish()]);
  gpu.counters.submits++;
}

/** Bits of a word that are set. */
function bitsOf(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
