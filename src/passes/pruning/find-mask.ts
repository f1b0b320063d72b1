import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { blocksOf, keptOf, type MaskPattern, maskWords } from '../../kernels/mask-pattern.ts';
import {
  beginSelectionStep,
  chooseDigitStep,
  countKeysSteps,
  DIGITS,
  markKeysSteps,
  type SelectionRoom,
} from '../../kernels/rank-keys.ts';
import {
  type MaskedMatrix,
  maskRoom,
  type Prepared,
  prepare,
  SELECTION_BYTES,
  selectMaskSteps,
  tieRoom,
} from '../../kernels/select-mask.ts';
import type { DenseRows } from '../methods/matrix-error.ts';

const F32: Format = formatByName('f32');

/** Room for the selection of masks. @throws OutOfMemoryError */
export const selectionRoom = (scratch: Scratch): SelectionRoom => ({
  selection: scratch.room(SELECTION_BYTES.selection, 'selection'),
  totals: scratch.room(SELECTION_BYTES.totals, 'totals'),
  counts: scratch.room(SELECTION_BYTES.counts, 'counts'),
});

/** Rows with room to find their mask in. @throws OutOfMemoryError, ArgumentError */
export function maskedRows(
  gpu: Gpu,
  scratch: Scratch,
  { view, rows, k }: DenseRows,
  pattern: MaskPattern,
  factors: BufferView | undefined,
): MaskedMatrix {
  const sizes = Object.entries(maskRoom(pattern, rows, k)).filter(([, bytes]) => bytes > 0);
  const bad = scratch.room(4, 'bad');
  // The weights were found to be finite when they were read.
  gpu.clear(bad.buffer, 4);
  return {
    ...{ source: F32, from: view, rows, k, bad, mask: scratch.room(4 * maskWords(rows, k), 'mask') },
    ...(factors && { factors }),
    room: Object.fromEntries(sizes.map(([name, bytes]) => [name, scratch.room(bytes, name)])),
  };
}

/**
 * A threshold over rows that are not on the GPU together: they are gone through three times to find it, then once more, in the same order, for their masks.
 */
export class Threshold {
  readonly #gpu: Gpu;
  readonly #scratch: Scratch;
  readonly #room: SelectionRoom;
  readonly #pattern: MaskPattern & { kind: 'ranked' };

  /** @throws OutOfMemoryError */
  constructor(gpu: Gpu, pattern: MaskPattern & { kind: 'ranked' }) {
    this.#gpu = gpu;
    this.#pattern = pattern;
    this.#scratch = new Scratch(gpu);
    try {
      this.#room = selectionRoom(this.#scratch);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * @param shapes of all matrices
   * @param pieces their rows, some at a time, cut where blocks are; called three times
   * @throws ArgumentError where nothing would be left; whatever `pieces` throws
   */
  async find(
    shapes: readonly { readonly rows: number; readonly k: number }[],
    pieces: () => AsyncIterable<DenseRows & { readonly factors?: BufferView }>,
    signal?: AbortSignal,
  ): Promise<void> {
    const blocks = shapes.reduce((sum, { rows, k }) => {
      const all = blocksOf(this.#pattern, rows, k);
      return sum + all.rows * all.k;
    }, 0);
    const keep = keptOf(this.#pattern.remove, blocks, `The pattern of ${blocks} blocks`);
    const run = (steps: readonly Step[]) => this.#gpu.scheduler.run(steps, signal && { signal });
    await run([beginSelectionStep(this.#room, keep)]);
    for (const digit of DIGITS) {
      for await (const piece of pieces()) {
        await this.#with(piece, ({ keys, before }) => run([...before, ...countKeysSteps(keys, this.#room, digit)]));
      }
      await run([chooseDigitStep(this.#room, digit)]);
    }
  }

  async #with(
    piece: DenseRows & { readonly factors?: BufferView },
    work: (prepared: Prepared) => Promise<void>,
  ): Promise<void> {
    const scratch = new Scratch(this.#gpu);
    try {
      await work(prepare(maskedRows(this.#gpu, scratch, piece, this.#pattern, piece.factors), this.#pattern));
    } finally {
      scratch.release();
    }
  }

  /** The mask of some rows: of all, in the order of `find`. */
  steps(matrix: MaskedMatrix): Step[] {
    const { keys, mask, before, after } = prepare(matrix, this.#pattern);
    return [...before, ...markKeysSteps(keys, this.#room, mask, tieRoom(matrix)), ...after];
  }

  release(): void {
    this.#scratch.release();
  }
}

/** Steps that find the mask of rows by themselves. */
export const maskSteps = (matrix: MaskedMatrix, pattern: MaskPattern, room: SelectionRoom): Step[] =>
  selectMaskSteps({ matrices: [matrix], pattern, room });
