import { OutOfMemoryError } from '../errors.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import { doubleQuantizeSteps } from '../kernels/double-quantize.ts';

/**
 * What becomes of the scales of a whole matrix in a format that quantizes them all together (`single`).
 * @param scales f32, as `single` has them
 * @returns all arrays of the format but the codes
 * @throws OutOfMemoryError, DeviceLostError
 */
export async function quantizeScales(
  gpu: Gpu,
  format: Format,
  scales: Uint8Array,
  rows: number,
  k: number,
  name: string,
): Promise<HostArrays> {
  if (scales.byteLength > gpu.bindingLimit) {
    throw new OutOfMemoryError(
      `The scales of ${name} take ${scales.byteLength} bytes; this device binds ${gpu.bindingLimit} at once. Choose ${format.single!.name}, or keep this tensor.`,
    );
  }
  const scratch = new Scratch(gpu);
  try {
    const from = scratch.room(scales.byteLength, `${name}, scales`);
    gpu.upload(from.buffer, scales);
    const [codes, nested] = format.arrays
      .slice(1)
      .map((array) => scratch.room(arrayBytes(array, rows, k), `${name}.${array.name}`));
    const groups = (rows * k) / format.block;
    await gpu.scheduler.run(doubleQuantizeSteps({ scales: from, groups, codes: codes!, nested: nested!, name }));
    return {
      scales: await gpu.readBack(codes!.buffer, 0, codes!.size!),
      nested: await gpu.readBack(nested!.buffer, 0, nested!.size!),
    };
  } finally {
    scratch.release();
  }
}
