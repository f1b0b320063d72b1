import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes, formatBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import { rowsPerPart, type Weight } from './weight.ts';

/** Whether weights of so many rows each can follow each other in memory, so that each can be bound by itself and all together. */
export function stacks(format: Format, k: number, rows: readonly number[], limits: StackLimits): boolean {
  const all = rows.reduce((sum, count) => sum + count, 0);
  return (
    rows.length > 1 &&
    // Its scale of activations is each weight's own.
    format.activations !== 'static' &&
    all <= rowsPerPart(format, k, limits.binding) &&
    format.arrays.every(
      (array) =>
        array.span === undefined &&
        array.sets === undefined &&
        rows
          .slice(0, -1)
          .every((count) => count % (array.band ?? 1) === 0 && contentBytes(array, count, k) % limits.alignment === 0),
    )
  );
}

export interface StackLimits {
  /** Most bytes of one binding. */
  readonly binding: number;
  /** What a binding's offset is a multiple of. */
  readonly alignment: number;
}

export const stackLimits = (gpu: Gpu): StackLimits => ({
  binding: gpu.bindingLimit,
  alignment: gpu.limits.minStorageBufferOffsetAlignment,
});

/**
 * Room for weights that `stacks`: each a weight by itself, and each array's rows behind those of the weight before. The memory is freed when all are released.
 * @throws OutOfMemoryError
 */
export function allocateStack(
  gpu: Gpu,
  format: Format,
  k: number,
  members: readonly { readonly name: string; readonly rows: number }[],
): Weight[] {
  const all = members.reduce((sum, { rows }) => sum + rows, 0);
  const label = members.map(({ name }) => name).join(' + ');
  const buffers: GPUBuffer[] = [];
  let held = members.length;
  const free = () => {
    for (const buffer of buffers.splice(0)) gpu.memory.release(buffer);
  };
  try {
    for (const array of format.arrays) {
      buffers.push(gpu.memory.allocate(Math.max(4, arrayBytes(array, all, k)), `${label}.${array.name}`));
    }
  } catch (error) {
    free();
    throw error;
  }
  let before = 0;
  return members.map(({ rows }) => {
    const arrays = format.arrays.map((array, i) => ({
      buffer: buffers[i]!,
      offset: contentBytes(array, before, k),
      size: Math.max(4, arrayBytes(array, rows, k)),
    }));
    before += rows;
    let released = false;
    return {
      kind: format.kind === 'dense' ? 'dense' : 'quantized',
      ...{ format, rows, k, parts: [{ rowStart: 0, rows, arrays }] },
      byteLength: formatBytes(format, rows, k),
      release: () => {
        if (released) return;
        released = true;
        if (--held === 0) free();
      },
    };
  });
}

/**
 * Weights that follow each other in memory as one of all their rows, whose memory stays theirs. Undefined where they don't, or where that is more than
 * one binding.
 */
export function stackedWeight(weights: readonly Weight[], limits: StackLimits): Weight | undefined {
  const [first] = weights;
  if (!first || weights.length === 1) return first;
  const { format, k, kind } = first;
  const rows = weights.map((weight) => weight.rows);
  if (weights.some((one) => one.format !== format || one.k !== k || one.parts.length > 1)) return undefined;
  if (!stacks(format, k, rows, limits)) return undefined;
  const all = rows.reduce((sum, count) => sum + count, 0);
  const parts = weights.map((weight) => weight.parts[0]!);
  for (const [i, array] of format.arrays.entries()) {
    const start = parts[0]!.arrays[i]!;
    let before = 0;
    for (const [at, part] of parts.entries()) {
      const { buffer, offset = 0 } = part.arrays[i]!;
      if (buffer !== start.buffer || offset !== (start.offset ?? 0) + contentBytes(array, before, k)) return undefined;
      before += rows[at]!;
    }
  }
  const arrays = format.arrays.map((array, i) => ({
    ...parts[0]!.arrays[i]!,
    size: Math.max(4, arrayBytes(array, all, k)),
  }));
  return {
    ...{ kind, format, k, rows: all, parts: [{ rowStart: 0, rows: all, arrays }] },
    byteLength: formatBytes(format, all, k),
    release: () => {},
  };
}

/** The same for vectors of f32. */
export function stackedVector(weights: readonly Weight[], limits: StackLimits): BufferView | undefined {
  const asRows = weights.map((weight) => ({ ...weight, rows: weight.k, k: 1 }));
  return stackedWeight(asRows, limits)?.parts[0]?.arrays[0];
}
