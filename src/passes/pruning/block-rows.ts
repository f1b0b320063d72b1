import { type BlockLists, listBlocks, listWords } from '../../formats/block-layout.ts';
import { LISTS } from '../../formats/blocks.ts';
import type { Format, HostArrays } from '../../formats/format.ts';
import { allocateArrays, contentBytes } from '../../formats/layout.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gatherBlocksStep } from '../../kernels/gather-blocks.ts';
import { maskWords } from '../../kernels/mask-pattern.ts';
import type { CompressedRows } from '../methods/compress-rows.ts';
import type { DenseRows } from '../methods/matrix-error.ts';
import { type KeptOptions, keptRows } from './kept-rows.ts';

/** The blocks of some rows of a matrix that stay. */
export interface BlockRows extends CompressedRows {
  readonly lists: BlockLists;
}

/**
 * Packs pruned rows whose mask keeps whole blocks: the blocks, in the format that their values have, and their lists. Errors are squares, since slots are other
 * columns in every block.
 * @param dense rows that start and end where blocks do
 * @param mask of these rows, as `selectMaskSteps` makes it
 * @param format with blocks
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function blockRows(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  mask: BufferView,
  format: Format,
  how: KeptOptions,
  signal: AbortSignal | undefined,
): Promise<BlockRows> {
  const { values, layout: whole } = format.blocks!;
  const layout = { ...whole, down: Math.ceil(rows / whole.block.rows) };
  const { slots, across, down } = layout;
  const bits = await gpu.readBack(mask.buffer, mask.offset ?? 0, 4 * maskWords(rows, k));
  const lists = listBlocks(new Uint32Array(bits.buffer), rows, k, layout);
  const kept = lists.columns.length;
  if (kept === 0) return { arrays: {}, errors: { rtn: 0, chosen: 0, all: 0 }, fellBack: false, lists };
  const which = new Uint32Array(kept);
  for (let row = 0; row < down; row++) {
    for (let at = lists.rowStarts[row]!; at < lists.rowStarts[row + 1]!; at++)
      which[at] = row * across + lists.columns[at]!;
  }
  const scratch = new Scratch(gpu);
  try {
    const dense = { view: scratch.room(4 * kept * slots, 'kept blocks'), rows: kept, k: slots };
    const blocks = scratch.upload(which, 'blocks');
    await gpu.scheduler.run(
      [gatherBlocksStep({ from: view, blocks, to: dense.view, layout, rows, k, kept })],
      signal && { signal },
    );
    return { ...(await keptRows(gpu, dense, values, how, signal)), lists };
  } finally {
    scratch.release();
  }
}

/** The arrays of a matrix from those of all its rows. */
export function joinBlocks(format: Format, pieces: readonly BlockRows[]): HostArrays {
  const { values, layout, kept } = format.blocks!;
  const whole = allocateArrays(values.arrays, kept, layout.slots);
  const rowStarts = [0];
  const columns: number[] = [];
  for (const { arrays, lists } of pieces) {
    const [first, count] = [columns.length, lists.columns.length];
    for (const array of values.arrays) {
      const part = arrays[array.name]?.subarray(0, contentBytes(array, count, layout.slots));
      if (part) whole[array.name]!.set(part, contentBytes(array, first, layout.slots));
    }
    for (const start of lists.rowStarts.subarray(1)) rowStarts.push(first + start);
    for (const column of lists.columns) columns.push(column);
  }
  if (columns.length !== kept) throw new Error(`The mask keeps ${columns.length} blocks, not ${kept}.`);
  const lists = { rowStarts: Uint32Array.from(rowStarts), columns: Uint32Array.from(columns) };
  return { ...whole, [LISTS]: new Uint8Array(listWords(lists).buffer) };
}
