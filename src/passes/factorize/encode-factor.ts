import { decodeToF32, encodeBf16, encodeF16 } from '../../files/convert.ts';
import { contentBytes } from '../../formats/layout.ts';
import { searches } from '../../formats/methods.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { quantizeStep } from '../../kernels/quantize.ts';
import { allocateRows } from '../device-arrays.ts';
import type { FactorPart } from './plan-factors.ts';

/** A factor as a file holds it, and what that stands for. */
export interface StoredFactor {
  /** Without padding, in the order of the format's arrays. */
  readonly arrays: readonly Uint8Array[];
  readonly values: Float32Array;
}

/**
 * Stores a factor in its format; scales are searched for where that is possible.
 * @param values f32 [rows, columns]
 * @throws NonFiniteError for values that f16 can't hold; OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function encodeFactor(
  gpu: Gpu,
  { name, format, rows, columns: k }: FactorPart,
  values: Float32Array<ArrayBuffer>,
  signal?: AbortSignal,
): Promise<StoredFactor> {
  if (format.name === 'f32') return { arrays: [new Uint8Array(values.buffer)], values };
  if (format.kind === 'dense') {
    const half = format.name === 'f16';
    const bytes = half ? encodeF16(values, name) : encodeBf16(values, name);
    return { arrays: [bytes], values: decodeToF32(bytes, half ? 'F16' : 'BF16') };
  }
  const result = allocateRows(gpu, format, rows, k, name);
  const scratch = new Scratch(gpu);
  try {
    const step = quantizeStep({
      ...{ source: formatByName('f32'), from: scratch.upload(values, name), format, to: result.arrays, rows, k },
      ...{ bad: result.bad, method: searches(format) ? 'search' : 'rtn' },
    });
    await gpu.scheduler.run([step], signal && { signal });
    const { arrays } = await result.read();
    return {
      arrays: format.arrays.map((array) => arrays[array.name]!.slice(0, contentBytes(array, rows, k))),
      values: format.reference.dequantize(arrays, rows, k),
    };
  } finally {
    scratch.release();
    result.release();
  }
}
