import { listBlocks, listWords } from '../../formats/block-layout.ts';
import { LISTS } from '../../formats/blocks.ts';
import type { Format } from '../../formats/format.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gatherBlocksStep } from '../../kernels/gather-blocks.ts';
import { maskWords } from '../../kernels/mask-pattern.ts';
import type { CompressedRows } from '../methods/compress-rows.ts';
import type { DenseRows } from '../methods/matrix-error.ts';
import { type KeptOptions, keptRows } from './kept-rows.ts';

/**
 * Packs a pruned matrix whose mask keeps whole blocks: the blocks, in the format that their values have, and their lists. Errors are squares, since slots are other
 * columns in every block.
 * @param mask of all its rows, as `selectMaskSteps` makes it
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
): Promise<CompressedRows> {
  const { values, layout, kept } = format.blocks!;
  const { slots, across, down } = layout;
  const bits = await gpu.readBack(mask.buffer, mask.offset ?? 0, 4 * maskWords(rows, k));
  const lists = listBlocks(new Uint32Array(bits.buffer), rows, k, layout);
  if (lists.columns.length !== kept) throw new Error(`The mask keeps ${lists.columns.length} blocks, not ${kept}.`);
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
    const made = await keptRows(gpu, dense, values, how, signal);
    return { ...made, arrays: { ...made.arrays, [LISTS]: new Uint8Array(listWords(lists).buffer) } };
  } finally {
    scratch.release();
  }
}
