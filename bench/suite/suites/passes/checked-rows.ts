// Rows of a pass's output that are held to the reference: a whole matrix would take minutes on the host.
import type { Gpu } from '../../../../src/gpu/gpu.ts';

/** Rows that follow each other, in several places: the first, the last, and others evenly between. */
export interface CheckedRows {
  /** The first row of each place. */
  readonly starts: readonly number[];
  /** Rows at each. */
  readonly each: number;
  /** In all. */
  readonly count: number;
}

/** @param rows of the matrix, a multiple of `each` */
export function checkedRows(rows: number, each: number, places: number): CheckedRows {
  const last = rows / each - 1;
  const at = Array.from({ length: places }, (_, i) => each * Math.round((i * last) / Math.max(1, places - 1)));
  const starts = [...new Set(at)];
  return { starts, each, count: each * starts.length };
}

/** Their values of a matrix of rows of `k`. */
export function pickRows(values: Float32Array, k: number, { starts, each, count }: CheckedRows): Float32Array {
  const picked = new Float32Array(count * k);
  for (const [i, row] of starts.entries()) picked.set(values.subarray(row * k, (row + each) * k), i * each * k);
  return picked;
}

/** Their bytes of a buffer whose rows have `rowBytes` each. */
export async function readRows(
  gpu: Gpu,
  buffer: GPUBuffer,
  rowBytes: number,
  { starts, each, count }: CheckedRows,
): Promise<ArrayBuffer> {
  const bytes = each * rowBytes;
  const read = await gpu.readBackAll(starts.map((row) => ({ buffer, offset: row * rowBytes, size: bytes })));
  const all = new Uint8Array(count * rowBytes);
  for (const [i, part] of read.entries()) all.set(part, i * bytes);
  return all.buffer;
}
