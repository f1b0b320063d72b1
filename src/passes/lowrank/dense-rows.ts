import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { READ_BACK_BYTES, type Weight } from '../../kernels/weight.ts';

/** Rows from `start` on of a matrix f32, into the parts that they belong to. */
export function uploadRows(gpu: Gpu, { parts, k }: Weight, values: Float32Array, start: number): void {
  const end = start + values.length / k;
  for (const { rowStart, rows, arrays } of parts) {
    const [from, to] = [Math.max(start, rowStart), Math.min(end, rowStart + rows)];
    if (from >= to) continue;
    const some = values.subarray((from - start) * k, (to - start) * k);
    gpu.upload(
      arrays[0]!.buffer,
      new Uint8Array(some.buffer, some.byteOffset, some.byteLength),
      4 * (from - rowStart) * k,
    );
  }
}

/** The first `count` elements of a buffer. */
export async function readFloats(gpu: Gpu, { buffer }: BufferView, count: number): Promise<Float32Array<ArrayBuffer>> {
  const floats = new Float32Array(count);
  const bytes = new Uint8Array(floats.buffer);
  for (let at = 0; at < bytes.byteLength; at += READ_BACK_BYTES) {
    bytes.set(await gpu.readBack(buffer, at, Math.min(READ_BACK_BYTES, bytes.byteLength - at)), at);
  }
  return floats;
}
