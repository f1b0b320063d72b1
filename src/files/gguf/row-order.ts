import { ArgumentError } from '../../errors.ts';

/**
 * Rows of query and key matrices. Rotary embedding rotates pairs of rows: checkpoints of Hugging Face pair row i of a head with
 * row i + d/2, llama.cpp's `llama` models row 2i with row 2i + 1. Only whole rows move, so any stored form can be reordered.
 */
export interface RowOrder {
  /** Rows of a head, d; even. */
  readonly headDim: number;
  /** The row within its head, in the order that is read, that becomes row `row` of the order that is wanted. */
  readonly sourceOf: (row: number) => number;
}

/** From interleaved pairs (GGUF) to half-split ones (Hugging Face). */
export function toHalfSplit(headDim: number): RowOrder {
  const half = checkHead(headDim) / 2;
  return { headDim, sourceOf: (row) => 2 * (row % half) + Math.floor(row / half) };
}

/** From half-split pairs (Hugging Face) to interleaved ones (GGUF). */
export function toInterleaved(headDim: number): RowOrder {
  const half = checkHead(headDim) / 2;
  return { headDim, sourceOf: (row) => (row % 2) * half + (row >> 1) };
}

function checkHead(headDim: number): number {
  if (Number.isInteger(headDim) && headDim > 0 && headDim % 2 === 0) return headDim;
  throw new ArgumentError(`Heads of ${headDim} rows have no pairs.`);
}

/**
 * Rows `rowStart` to `rowStart + rows` of the wanted order. Whole heads are read: up to one more at each end.
 * @param read gives rows of the order that is stored
 */
export async function readReordered(
  read: (rowStart: number, rows: number) => Promise<Uint8Array<ArrayBuffer>>,
  { headDim, sourceOf }: RowOrder,
  rowStart: number,
  rows: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (rows === 0) return read(rowStart, 0);
  const first = Math.floor(rowStart / headDim) * headDim;
  const end = Math.ceil((rowStart + rows) / headDim) * headDim;
  const bytes = await read(first, end - first);
  const rowBytes = bytes.byteLength / (end - first);
  const out = new Uint8Array(rows * rowBytes);
  for (let i = 0; i < rows; i++) {
    const at = sourceRow({ headDim, sourceOf }, rowStart + i) - first;
    out.set(bytes.subarray(at * rowBytes, (at + 1) * rowBytes), i * rowBytes);
  }
  return out;
}

/** The stored row that becomes row `row` of the wanted order. */
export function sourceRow({ headDim, sourceOf }: RowOrder, row: number): number {
  const head = Math.floor(row / headDim) * headDim;
  return head + sourceOf(row - head);
}
