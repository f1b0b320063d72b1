import { checkCancelled } from '../files/cancel.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { quantizeStep } from '../kernels/quantize.ts';
import type { Chunk } from './chunks.ts';
import { badWeight } from './finite-check.ts';
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
  const alignment = gpu.limits.minStorageBufferOffsetAlignment;
  const align = (offset: number) => Math.ceil(offset / alignment) * alignment;
  // One buffer: the word that reports a bad weight, then each array where a binding may start.
  let end = align(4);
  const views = target.arrays.map((array) => {
    const view = { offset: end, size: arrayBytes(array, rows, k) };
    end = align(view.offset + view.size);
    return view;
  });
  const input = gpu.memory.allocate(Math.ceil(bytes.byteLength / 4) * 4, info.name);
  let result: GPUBuffer | undefined;
  try {
    result = gpu.memory.allocate(end, `${info.name} as ${target.name}`);
    const to = views.map((view) => ({ buffer: result!, ...view }));
    gpu.upload(result, new Uint8Array(4));
    gpu.upload(input, padToWord(bytes));
    const step = quantizeStep({
      source: denseFormatOf(info.type)!,
      from: { buffer: input },
      format: target,
      to,
      rows,
      k,
      bad: { buffer: result, offset: 0, size: 4 },
      name: info.name,
    });
    await gpu.scheduler.run([step]);
    const all = await gpu.readBack(result, 0, end);
    checkCancelled(signal);
    const bad = new DataView(all.buffer).getUint32(0, true);
    if (bad !== 0) throw badWeight(chunk, ~bad >>> 0, k);
    return target.arrays.map((array, i) => {
      const { offset } = views[i]!;
      return all.subarray(offset, offset + contentBytes(array, rows, k));
    });
  } finally {
    gpu.memory.release(input);
    if (result) gpu.memory.release(result);
  }
}

function padToWord(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  return padded;
}
