import type { Checkpoint } from '../files/checkpoint.ts';
import { readReordered, sourceRow } from '../files/gguf/row-order.ts';
import type { Format } from '../formats/format.ts';
import { formatBytes, setsOf } from '../formats/layout.ts';
import { rowsPerPart } from '../kernels/weight.ts';
import type { PlannedTensor } from './plan.ts';
import { CHUNK_ROWS, chunkRows, denseFormatOf } from './stored-weight.ts';

/** Some rows of a tensor. */
export interface Chunk {
  readonly tensor: PlannedTensor;
  readonly rowStart: number;
  readonly rows: number;
  readonly last: boolean;
}

/** What a device has for a chunk and what becomes of it, in bytes. */
export interface DeviceRoom {
  /** Of the largest binding. */
  readonly binding: number;
  /** Of all buffers together. */
  readonly memory: number;
}

/**
 * Whole tensors where they fit, else runs of rows that the device has room for. A tensor without data has none.
 * @param chunkBytes bytes to read at a time; default: 64 MiB
 */
export function chunksOf(tensor: PlannedTensor, room: DeviceRoom, chunkBytes?: number): Chunk[] {
  const { weight, target, report } = tensor;
  // Opaque ones have rows of their own.
  const { shape } = weight.kind === 'opaque' ? weight.info : weight;
  const fileRows = shape[0] ?? 1;
  let most = chunkRows(report.bytesBefore / Math.max(1, fileRows), chunkBytes);
  if (target && weight.kind === 'dense') {
    const k = shape[1]!;
    const source = denseFormatOf(weight.info.type)!;
    const made = target.single ?? target;
    most = Math.min(
      most,
      rowsPerPart(source, k, room.binding),
      rowsPerPart(made, k, room.binding),
      rowsInMemory(source, made, k, room.memory),
    );
  }
  const chunks: Chunk[] = [];
  if (report.bytesBefore === 0) return chunks;
  for (let rowStart = 0; rowStart < fileRows; rowStart += most) {
    const rows = Math.min(most, fileRows - rowStart);
    chunks.push({ tensor, rowStart, rows, last: rowStart + rows === fileRows });
  }
  return chunks;
}

/** Rows of which a device of so much memory holds the dense form, the result and the buffer through which that is read back. */
function rowsInMemory(source: Format, target: Format, k: number, memory: number): number {
  const bytes = formatBytes(source, CHUNK_ROWS, k) + 2 * formatBytes(target, CHUNK_ROWS, k);
  // Buffers are up to an eighth larger than asked for. What has room for less has an error to tell, at the first allocation.
  return Math.max(1, Math.floor(memory / 1.125 / bytes)) * CHUNK_ROWS;
}

/** The stored arrays of some rows, in the order that the output has. */
export async function readChunk(
  checkpoint: Checkpoint,
  { tensor, rowStart, rows }: Chunk,
  signal?: AbortSignal,
): Promise<Uint8Array[]> {
  const { weight, gguf } = tensor;
  const arrays: Uint8Array[] = [];
  for (const [i, info] of (weight.kind === 'quantized' ? weight.parts : [weight.info]).entries()) {
    const read = (start: number, count: number) => checkpoint.read(info, start, count, signal);
    if (gguf?.order) arrays.push(await readReordered(read, gguf.order, rowStart, rows));
    else {
      const array = weight.kind === 'quantized' ? weight.format.arrays[i]! : undefined;
      const { start, count } = array
        ? setsOf(array, rowStart, rows, weight.shape[1]!)
        : { start: rowStart, count: rows };
      arrays.push(await read(start, count));
    }
  }
  return arrays;
}

/** The row of the checkpoint that a chunk has at `row`. */
export function storedRow({ tensor: { gguf }, rowStart }: Chunk, row: number): number {
  return gguf?.order ? sourceRow(gguf.order, rowStart + row) : rowStart + row;
}
