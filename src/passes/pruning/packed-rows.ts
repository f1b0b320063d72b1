import type { Format } from '../../formats/format.ts';
import { COLUMNS } from '../../formats/packed.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { packSparseStep } from '../../kernels/pack-sparse.ts';
import type { CompressedRows } from '../methods/compress-rows.ts';
import type { DenseRows } from '../methods/matrix-error.ts';
import { type KeptOptions, keptRows } from './kept-rows.ts';

/**
 * Packs pruned rows: what the mask keeps, in the format that packed values have, and where it stood. Errors are squares, since slots are other columns in every row.
 * @param mask of these rows, as `selectMaskSteps` makes it
 * @param format packed
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function packedRows(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  mask: BufferView,
  format: Format,
  how: KeptOptions,
  signal: AbortSignal | undefined,
): Promise<CompressedRows> {
  const { pattern, values, layout } = format.packed!;
  const { slots, bands, words } = layout(rows, k);
  const f32 = formatByName('f32');
  const scratch = new Scratch(gpu);
  try {
    const kept = { view: scratch.room(4 * rows * slots, 'kept weights'), rows, k: slots };
    const columns = scratch.room(4 * bands * words, COLUMNS);
    const packed = { format: f32, values: [kept.view], columns, becomes: values };
    const step = packSparseStep({ source: f32, from: view, mask, pattern, rows, k, ...packed });
    await gpu.scheduler.run([step], signal && { signal });
    const made = await keptRows(gpu, kept, values, how, signal);
    const places = await gpu.readBack(columns.buffer, 0, 4 * bands * words);
    return { ...made, arrays: { ...made.arrays, [COLUMNS]: places } };
  } finally {
    scratch.release();
  }
}
