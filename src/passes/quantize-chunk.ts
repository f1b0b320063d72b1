import { checkCancelled } from '../files/cancel.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { Format } from '../formats/format.ts';
import { contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { quantizeStep } from '../kernels/quantize.ts';
import { padToWord } from '../kernels/weight.ts';
import type { Chunk } from './chunks.ts';
import { allocateRows, type DeviceRows } from './device-arrays.ts';
import { badWeight } from './finite-check.ts';
import { startOf } from './methods/method.ts';
import { denseFormatOf } from './stored-weight.ts';

/**
 * The arrays of `target` for some rows, without padding. All come back in one read.
 * @param bytes the dense rows
 * @throws NonFiniteError naming the weight; CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function quantizeChunk(
  gpu: Gpu,
  chunk: Chunk,
  info: TensorInfo,
  target: Format,
  bytes: Uint8Array,
  signal?: AbortSignal,
): Promise<Uint8Array[]> {
  const { rows } = chunk;
  const k = info.shape[1]!;
  const input = gpu.memory.allocate(Math.ceil(bytes.byteLength / 4) * 4, info.name);
  let result: DeviceRows | undefined;
  try {
    result = allocateRows(gpu, target, rows, k, `${info.name} as ${target.name}`);
    gpu.upload(input, padToWord(bytes));
    const step = quantizeStep({
      source: denseFormatOf(info.type)!,
      from: { buffer: input },
      format: target,
      to: result.arrays,
      rows,
      k,
      bad: result.bad,
      name: info.name,
      method: chunk.tensor.method ? startOf(chunk.tensor.method, target).method : 'rtn',
    });
    await gpu.scheduler.run([step]);
    const { arrays, bad } = await result.read();
    checkCancelled(signal);
    if (bad !== 0) throw badWeight(chunk, ~bad >>> 0, k);
    return target.arrays.map((array) => arrays[array.name]!.subarray(0, contentBytes(array, rows, k)));
  } finally {
    gpu.memory.release(input);
    result?.release();
  }
}
