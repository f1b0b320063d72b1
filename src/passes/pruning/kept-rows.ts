import type { Format } from '../../formats/format.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { denseRows } from '../dense-rows.ts';
import { type CompressedRows, compressRows } from '../methods/compress-rows.ts';
import type { DenseRows } from '../methods/matrix-error.ts';

export type KeptOptions = Omit<Parameters<typeof compressRows>[3], 'correct'>;

/** What pruning leaves, gathered in slots, in the format of stored values. Errors are squares, since a slot is another column in every row. */
export const keptRows = (
  gpu: Gpu,
  kept: DenseRows,
  values: Format,
  how: KeptOptions,
  signal: AbortSignal | undefined,
): Promise<CompressedRows> =>
  values.kind === 'dense'
    ? denseRows(gpu, kept, values, signal)
    : compressRows(gpu, kept, values, how, { importance: new Float32Array(kept.k).fill(1) }, signal);
