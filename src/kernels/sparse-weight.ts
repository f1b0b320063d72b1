import { ArgumentError } from '../errors.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import { type SparseLayout, type SparsePattern, sparseLayout } from './sparse-layout.ts';
import { allocateWeight, type Weight, writeWeight } from './weight.ts';

/** A matrix [rows, k] of which only the weights that an N:M pattern keeps are on the GPU, packed as `sparseLayout` says. */
export interface SparseWeight {
  readonly kind: 'sparse';
  readonly pattern: SparsePattern;
  readonly layout: SparseLayout;
  readonly rows: number;
  readonly k: number;
  /** [rows, slots] */
  readonly values: Weight;
  /** Of each part of `values`: u32 [bands, words]. */
  readonly columns: readonly BufferView[];
  /** Of all arrays. */
  readonly byteLength: number;
  release(): void;
}

/**
 * Room for a packed matrix on the GPU.
 * @throws ArgumentError for patterns and formats that can't be packed, and sizes that are no whole numbers from 1 on; OutOfMemoryError
 */
export function allocateSparse(
  gpu: Gpu,
  pattern: SparsePattern,
  format: Format,
  rows: number,
  k: number,
  label: string,
): SparseWeight {
  for (const size of [rows, k]) {
    if (!Number.isInteger(size) || size < 1) {
      throw new ArgumentError(`${label}: ${rows} x ${k} is no size of a weight: give whole numbers from 1 on.`);
    }
  }
  const layout = sparseLayout(pattern, format, rows, k);
  const values = allocateWeight(gpu, format, rows, layout.slots, label, layout.band);
  const columns: BufferView[] = [];
  const release = () => {
    values.release();
    for (const { buffer } of columns) gpu.memory.release(buffer);
  };
  try {
    for (const part of values.parts) {
      const size = 4 * layout.words * Math.ceil(part.rows / layout.band);
      columns.push({ buffer: gpu.memory.allocate(size, `${label}.columns`), size });
    }
  } catch (error) {
    release();
    throw error;
  }
  const byteLength = values.byteLength + 4 * layout.words * layout.bands;
  return { kind: 'sparse', pattern, layout, rows, k, values, columns, byteLength, release };
}

/** Uploads a packed matrix: the arrays of its values' format, [rows, slots], and u32 [bands, words]. @throws as `allocateSparse` does, and where arrays do not fit */
export function uploadSparse(
  gpu: Gpu,
  pattern: SparsePattern,
  format: Format,
  rows: number,
  k: number,
  host: { readonly values: HostArrays; readonly columns: Uint32Array },
  label: string,
): SparseWeight {
  const { bands, words } = sparseLayout(pattern, format, rows, k);
  const missing = format.arrays.find(({ name }) => !host.values[name]);
  if (missing) throw new ArgumentError(`${label} lacks the array "${missing.name}" of ${format.name}.`);
  if (host.columns.length !== bands * words) {
    throw new ArgumentError(`${label}: the columns are ${host.columns.length} words, not ${bands} x ${words}.`);
  }
  const weight = allocateSparse(gpu, pattern, format, rows, k, label);
  writeWeight(gpu, weight.values, host.values);
  for (const [i, part] of weight.values.parts.entries()) {
    const first = (part.rowStart / weight.layout.band) * words;
    const some = host.columns.subarray(first, first + weight.columns[i]!.size! / 4);
    gpu.upload(weight.columns[i]!.buffer, new Uint8Array(some.buffer, some.byteOffset, some.byteLength));
  }
  return weight;
}
