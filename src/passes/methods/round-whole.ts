import type { Checkpoint } from '../../files/checkpoint.ts';
import type { TensorInfo } from '../../files/safetensors-read.ts';
import type { Format, HostArrays } from '../../formats/format.ts';
import { allocateArrays, contentBytes } from '../../formats/layout.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { quantizeStep } from '../../kernels/quantize.ts';
import { denseSlices } from '../dense-slices.ts';
import { allocateRows } from '../device-arrays.ts';
import { quantizeScales } from '../quantize-scales.ts';

/**
 * A matrix rounded to nearest in a format that quantizes its scales all together (`single`): what methods start from, which take some rows at a time.
 * @throws NonFiniteError naming the weight; FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function roundWhole(
  gpu: Gpu,
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  info: TensorInfo,
  format: Format,
  signal?: AbortSignal,
): Promise<HostArrays> {
  const single = format.single!;
  const [rows, k] = info.shape as [number, number];
  const whole = allocateArrays(single.arrays, rows, k);
  for await (const { view, rows: count, rowStart } of denseSlices(gpu, checkpoint, info, format, signal)) {
    const result = allocateRows(gpu, single, count, k, info.name);
    try {
      const source = formatByName('f32');
      const { arrays: to, bad } = result;
      await gpu.scheduler.run([quantizeStep({ source, from: view, format: single, to, rows: count, k, bad })]);
      const { arrays } = await result.read();
      for (const array of single.arrays) {
        const part = arrays[array.name]!.subarray(0, contentBytes(array, count, k));
        whole[array.name]!.set(part, contentBytes(array, rowStart, k));
      }
    } finally {
      result.release();
    }
  }
  return { codes: whole.codes!, ...(await quantizeScales(gpu, format, whole.scales!, rows, k, info.name)) };
}
