import {
  type BufferView,
  type Checkpoint,
  dequantizeStep,
  formatByName,
  type Gpu,
  throwIfNonFinite,
} from '../../../src/index.ts';
import { loadWeight } from '../../../src/passes/load-weights.ts';
import { unpackSparseStep } from '../../../src/sparse.ts';
import type { TensorEntry } from './network.ts';

/** Most bytes of a tensor, as f32, that are on the GPU to be looked at: buffers of several times this are made. */
const MOST_BYTES = 128 * 1024 * 1024;

/** What a device allows of a buffer. */
export type GpuSizes = Pick<Gpu, 'bindingLimit'> & { readonly limits: Pick<GPUSupportedLimits, 'maxBufferSize'> };

/** Rows of a tensor that may be on the GPU together. */
export function rowsTogether(gpu: GpuSizes, k: number, most = MOST_BYTES): number {
  const rows = Math.floor(Math.min(most, gpu.bindingLimit, gpu.limits.maxBufferSize) / (4 * k));
  // Packed weights are cut between bands of up to 16 rows.
  return rows >= 16 ? rows - (rows % 16) : rows;
}

/**
 * Some rows of a tensor in f32, from wherever they are, in whatever format.
 * @param room f32 [count, k]
 * @throws FileError, OutOfMemoryError, DeviceLostError; NonFiniteError that names the first weight that is NaN or infinite
 */
export async function readDense(
  gpu: Gpu,
  checkpoint: Checkpoint,
  { name, k, shape }: TensorEntry,
  rows: { readonly start: number; readonly count: number },
  room: BufferView,
  signal?: AbortSignal,
): Promise<void> {
  // Rows of a vector are its elements.
  const range = shape.length < 2 ? { start: 0, count: k } : rows;
  const weight = await loadWeight(gpu, checkpoint, { name, role: 'linear' }, { rows: range }, signal);
  const bad = gpu.memory.allocate(4, 'bad');
  try {
    gpu.clear(bad, 4);
    const target = formatByName('f32');
    const { format } = weight;
    await gpu.scheduler.run(
      weight.parts.map((part) => {
        const offset = (room.offset ?? 0) + 4 * part.rowStart * k;
        const to = { buffer: room.buffer, offset, size: 4 * part.rows * k };
        if (format.packed) {
          const { values, pattern } = format.packed;
          const arrays = { values: part.arrays.slice(0, -1), columns: part.arrays.at(-1)! };
          return unpackSparseStep({ ...arrays, format: values, pattern, rows: part.rows, k, to });
        }
        return dequantizeStep({
          format,
          from: part.arrays,
          target,
          to,
          rows: part.rows,
          k,
          bad: { buffer: bad },
          name,
        });
      }),
    );
    const [found] = new Uint32Array((await gpu.readBack(bad, 0, 4)).buffer);
    throwIfNonFinite(found!, k, name);
  } finally {
    gpu.memory.release(bad);
    weight.release();
  }
}
