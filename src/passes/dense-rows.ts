import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { quantizeStep } from '../kernels/quantize.ts';
import { allocateRows } from './device-arrays.ts';
import type { CompressedRows } from './methods/compress-rows.ts';
import type { DenseRows } from './methods/matrix-error.ts';

/** Rows in a dense format. @throws OutOfMemoryError, DeviceLostError, CancelledError */
export async function denseRows(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  format: Format,
  signal: AbortSignal | undefined,
): Promise<CompressedRows> {
  const result = allocateRows(gpu, format, rows, k, format.name);
  try {
    const { arrays: to, bad } = result;
    const step = quantizeStep({ source: formatByName('f32'), from: view, format, to, rows, k, bad });
    await gpu.scheduler.run([step], signal && { signal });
    const { arrays } = await result.read();
    return { arrays, errors: { rtn: 0, chosen: 0, all: 0 }, fellBack: false };
  } finally {
    result.release();
  }
}
