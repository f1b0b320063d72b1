import type { Checkpoint } from '../files/checkpoint.ts';
import { readReordered, sourceRow } from '../files/gguf/row-order.ts';
import { rowsPerPart } from '../kernels/weight.ts';
import type { PlannedTensor } from './plan.ts';
import { chunkRows, denseFormatOf } from './stored-weight.ts';

/** Some rows of a tensor. */
export interface Chunk {
  readonly tensor: PlannedTensor;
  readonly rowStart: number;
  readonly rows: number;
  readonly last: boolean;
}

/**
 * Whole tensors where they fit, else runs of rows that every binding of the device takes. A tensor without data has none.
 * @param bindingLimit bytes of the largest binding
 * @param chunkBytes bytes to read at a time; default: 64 MiB
 */
export function chunksOf(tensor: PlannedTensor, bindingLimit: number, chunkBytes?: number): Chunk[] {
  const { weight, target, report } = tensor;
  // Opaque ones have rows of their own.
  const { shape } = weight.kind === 'opaque' ? weight.info : weight;
  const fileRows = shape[0] ?? 1;
  let most = chunkRows(report.bytesBefore / Math.max(1, fileRows), chunkBytes);
  if (target && weight.kind === 'dense') {
    const k = shape[1]!;
    const source = denseFormatOf(weight.info.type)!;
    most = Math.min(most, rowsPerPart(source, k, bindingLimit), rowsPerPart(target, k, bindingLimit));
  }
  const chunks: Chunk[] = [];
  if (report.bytesBefore === 0) return chunks;
  for (let rowStart = 0; rowStart < fileRows; rowStart += most) {
    const rows = Math.min(most, fileRows - rowStart);
    chunks.push({ tensor, rowStart, rows, last: rowStart + rows === fileRows });
  }
  return chunks;
}

/** The stored arrays of some rows, in the order that the output has. */
export async function readChunk(
  checkpoint: Checkpoint,
  { tensor, rowStart, rows }: Chunk,
  signal?: AbortSignal,
): Promise<Uint8Array[]> {
  const { weight, gguf } = tensor;
  const arrays: Uint8Array[] = [];
  for (const info of weight.kind === 'quantized' ? weight.parts : [weight.info]) {
    const read = (start: number, count: number) => checkpoint.read(info, start, count, signal);
    arrays.push(gguf?.order ? await readReordered(read, gguf.order, rowStart, rows) : await read(rowStart, rows));
  }
  return arrays;
}

/** The row of the checkpoint that a chunk has at `row`. */
export function storedRow({ tensor: { gguf }, rowStart }: Chunk, row: number): number {
  return gguf?.order ? sourceRow(gguf.order, rowStart + row) : rowStart + row;
}
