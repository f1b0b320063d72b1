import { ArgumentError, OutOfMemoryError } from '../errors.ts';
import {
  type BlockLayout,
  type BlockLists,
  type BlockSize,
  blockLayout,
  checkLists,
  listWords,
} from '../formats/block-layout.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import { padToWord, type Weight } from './weight.ts';

/** Rows of blocks that follow each other, whose arrays each fit one binding. */
export interface BlockPart {
  /** Of the matrix. */
  readonly rowStart: number;
  readonly rows: number;
  /** Rows of blocks. */
  readonly blockRows: number;
  /** The first of its blocks among all, and how many. */
  readonly first: number;
  readonly kept: number;
  /** Of the values [kept, slots], in the order of `format.arrays`. */
  readonly values: readonly BufferView[];
  /** u32: the order in which rows of blocks are taken, their first blocks and the number of all, the column of each block. */
  readonly lists: BufferView;
}

/** A matrix [rows, k] on the GPU of which only some blocks are there. */
export interface BlockWeight {
  readonly format: Format;
  readonly layout: BlockLayout;
  readonly rows: number;
  readonly k: number;
  /** Blocks that are there. */
  readonly kept: number;
  readonly parts: readonly BlockPart[];
  /** Of all arrays. */
  readonly byteLength: number;
  /** Frees its buffers. */
  release(): void;
}

/**
 * Room for the blocks of a matrix, and their lists on the GPU; rows of blocks with many blocks come first, so that work is even at the end.
 * @throws ArgumentError, FormatError for blocks, formats and lists that do not fit; OutOfMemoryError
 */
export function allocateBlocks(
  gpu: Gpu,
  block: BlockSize,
  format: Format,
  { rows, k }: { readonly rows: number; readonly k: number },
  lists: BlockLists,
  label: string,
): BlockWeight {
  for (const size of [rows, k]) {
    if (!Number.isInteger(size) || size < 1) {
      throw new ArgumentError(`${label}: ${rows} x ${k} is no size of a weight: give whole numbers from 1 on.`);
    }
  }
  const layout = blockLayout(block, format, rows, k);
  checkLists(label, lists, layout);
  const parts: BlockPart[] = [];
  const made: GPUBuffer[] = [];
  const release = () => {
    for (const buffer of made) gpu.memory.release(buffer);
  };
  const room = (size: number, name: string): BufferView => {
    const buffer = gpu.memory.allocate(size, `${label}.${name}`);
    made.push(buffer);
    return { buffer, size };
  };
  let byteLength = 0;
  try {
    for (const { from, to } of cutRows(lists, layout, format, gpu.bindingLimit, label)) {
      const first = lists.rowStarts[from]!;
      const kept = lists.rowStarts[to]! - first;
      // A binding is never empty.
      const values = format.arrays.map((array) =>
        room(Math.max(16, arrayBytes(array, kept, layout.slots)), array.name),
      );
      const words = listWords(rowsOf(lists, from, to));
      const view = room(words.byteLength, 'lists');
      gpu.upload(view.buffer, new Uint8Array(words.buffer));
      const rowStart = from * block.rows;
      const count = Math.min(rows, to * block.rows) - rowStart;
      parts.push({ rowStart, rows: count, blockRows: to - from, first, kept, values, lists: view });
      byteLength += words.byteLength + values.reduce((sum, { size }) => sum + size!, 0);
    }
  } catch (error) {
    release();
    throw error;
  }
  return { format, layout, rows, k, kept: lists.columns.length, parts, byteLength, release };
}

/** Runs of rows of blocks whose values fit a binding. @throws OutOfMemoryError where those of one do not */
function cutRows(
  { rowStarts }: BlockLists,
  { down, slots }: BlockLayout,
  format: Format,
  limit: number,
  label: string,
): { readonly from: number; readonly to: number }[] {
  // Cut where arrays start on whole words: any block does, since slots are multiples of 16.
  const perBlock = Math.max(...format.arrays.map((array) => arrayBytes(array, 8, slots))) / 8;
  const most = Math.floor(limit / perBlock);
  const runs: { from: number; to: number }[] = [];
  for (let from = 0; from < down; ) {
    let to = from + 1;
    while (to < down && rowStarts[to + 1]! - rowStarts[from]! <= most) to++;
    if (rowStarts[to]! - rowStarts[from]! > most) {
      throw new OutOfMemoryError(`${label}: a row of blocks does not fit a binding of ${limit} bytes.`);
    }
    runs.push({ from, to });
    from = to;
  }
  return runs;
}

/** Of some rows of blocks. */
function rowsOf({ rowStarts, columns }: BlockLists, from: number, to: number): BlockLists {
  const first = rowStarts[from]!;
  return {
    rowStarts: rowStarts.slice(from, to + 1).map((start) => start - first),
    columns: columns.slice(first, rowStarts[to]),
  };
}

/** A weight in a block format (`blocksFormat`), as products take it. */
export function asBlocks({ format, rows, k, parts, byteLength, release }: Weight): BlockWeight {
  const { blocks } = format;
  const [part] = parts;
  if (!blocks || !part) throw new Error(`${format.name} has no blocks.`);
  const { values, layout, kept } = blocks;
  const [lists] = part.arrays.slice(-1);
  const all = {
    rowStart: 0,
    rows,
    blockRows: layout.down,
    first: 0,
    kept,
    values: part.arrays.slice(0, -1),
    lists: lists!,
  };
  return { format: values, layout, rows, k, kept, parts: [all], byteLength, release };
}

/** Uploads a block-sparse matrix: the arrays of its values' format, [kept, slots]. @throws as `allocateBlocks` does, and where arrays do not fit */
export function uploadBlocks(
  gpu: Gpu,
  block: BlockSize,
  format: Format,
  size: { readonly rows: number; readonly k: number },
  host: { readonly values: HostArrays; readonly lists: BlockLists },
  label: string,
): BlockWeight {
  const { slots } = blockLayout(block, format, size.rows, size.k);
  const kept = host.lists.columns.length;
  const wrong = format.arrays.find((array) => host.values[array.name]?.length !== arrayBytes(array, kept, slots));
  if (wrong) {
    throw new ArgumentError(
      `${label}: the array "${wrong.name}" of ${format.name} does not hold ${kept} blocks of ${slots} values.`,
    );
  }
  const weight = allocateBlocks(gpu, block, format, size, host.lists, label);
  for (const part of weight.parts) {
    for (const [i, array] of format.arrays.entries()) {
      const start = contentBytes(array, part.first, slots);
      const bytes = host.values[array.name]!.subarray(start, start + contentBytes(array, part.kept, slots));
      if (bytes.length > 0) gpu.upload(part.values[i]!.buffer, padToWord(bytes));
    }
  }
  return weight;
}
