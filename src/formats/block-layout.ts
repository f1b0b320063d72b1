import { ArgumentError, FormatError } from '../errors.ts';
import { type Format, isSparse } from './format.ts';
import { storesZero } from './packed-layout.ts';

/** Rows and columns of the blocks that a matrix is cut into; those at its edges may be cut. */
export interface BlockSize {
  readonly rows: number;
  readonly columns: number;
}

/** Values that kernels take at a time: CHUNK of `shaders/formats`. */
const CHUNK = 16;
/** Most rows, or columns, of a block. */
const MOST = 1024;

/**
 * Where a block-sparse matrix has what. Its blocks are the rows of a matrix [kept, slots] in any format, row of blocks by row of blocks: the rows of a block one
 * after another, each filled up with zeros to `width`, then as many zeros as make whole blocks of the format.
 */
export interface BlockLayout {
  readonly block: BlockSize;
  /** Rows of blocks of the matrix, and blocks of one. */
  readonly down: number;
  readonly across: number;
  /** Of a row of a block: a multiple of 4. */
  readonly width: number;
  /** Of a block: a multiple of 16 and of the format's block. */
  readonly slots: number;
}

/** @throws ArgumentError for blocks of no size and formats that need whole rows; FormatError where what fills blocks up could not be 0 */
export function blockLayout(block: BlockSize, format: Format, rows: number, k: number): BlockLayout {
  for (const size of [block.rows, block.columns]) {
    if (!Number.isInteger(size) || size < 1 || size > MOST) {
      throw new ArgumentError(
        `There are no blocks of ${block.rows} x ${block.columns}; give whole numbers from 1 to ${MOST}.`,
      );
    }
  }
  if (format.wholeRows || format.activations || isSparse(format) || format.arrays.some(({ span }) => span)) {
    throw new ArgumentError(`Blocks can't have values in ${format.name}, whose scales are not those of blocks.`);
  }
  const width = Math.ceil(block.columns / 4) * 4;
  const multiple = Math.max(CHUNK, format.block);
  const slots = Math.ceil((block.rows * width) / multiple) * multiple;
  if (!storesZero(format) && (k % block.columns !== 0 || slots !== block.rows * block.columns)) {
    throw new FormatError(
      `Blocks of ${block.rows} x ${block.columns} of rows of ${k} weights are filled up with zeros, which ${format.name} can't store. Choose a format without minima, such as q8_0 or q4_0.`,
    );
  }
  return { block, down: Math.ceil(rows / block.rows), across: Math.ceil(k / block.columns), width, slots };
}

/** Which blocks of a matrix are kept. */
export interface BlockLists {
  /** For each row of blocks the index of its first, and the count of all at the end: [down + 1]. */
  readonly rowStarts: Uint32Array;
  /** The column of blocks of each: ascending within a row of blocks. */
  readonly columns: Uint32Array;
}

/** The blocks of which a mask (`maskWords`) keeps any weight. */
export function listBlocks(
  mask: Uint32Array,
  rows: number,
  k: number,
  { block, down, across }: Pick<BlockLayout, 'block' | 'down' | 'across'>,
): BlockLists {
  const words = Math.ceil(k / 32);
  const kept = new Uint8Array(down * across);
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / block.rows) * across;
    for (let word = 0; word < words; word++) {
      for (let bits = mask[row * words + word]!; bits !== 0; bits &= bits - 1) {
        const column = 32 * word + 31 - Math.clz32(bits & -bits);
        kept[first + Math.floor(column / block.columns)] = 1;
      }
    }
  }
  const rowStarts = new Uint32Array(down + 1);
  const columns: number[] = [];
  for (let at = 0; at < down; at++) {
    for (let column = 0; column < across; column++) if (kept[at * across + column]) columns.push(column);
    rowStarts[at + 1] = columns.length;
  }
  return { rowStarts, columns: Uint32Array.from(columns) };
}

/** @throws ArgumentError where lists are none of the matrix */
export function checkLists(
  label: string,
  { rowStarts, columns }: BlockLists,
  { down, across }: Pick<BlockLayout, 'down' | 'across'>,
): void {
  const starts =
    rowStarts.length === down + 1 &&
    rowStarts[0] === 0 &&
    rowStarts.every((start, i) => i === 0 || start >= rowStarts[i - 1]!) &&
    rowStarts[down] === columns.length;
  if (!starts)
    throw new ArgumentError(
      `${label}: the starts of ${down} rows of blocks do not ascend from 0 to ${columns.length}.`,
    );
  for (let row = 0; row < down; row++) {
    for (let i = rowStarts[row]!; i < rowStarts[row + 1]!; i++) {
      if (columns[i]! < across && (i === rowStarts[row] || columns[i]! > columns[i - 1]!)) continue;
      throw new ArgumentError(`${label}: the blocks of row ${row} do not ascend below column ${across}.`);
    }
  }
}

/** The lists as kernels and files have them: the order in which rows of blocks are taken, those with many blocks first, so that work is even at the end; then `rowStarts` and `columns`. */
export function listWords({ rowStarts, columns }: BlockLists): Uint32Array<ArrayBuffer> {
  const countOf = (row: number) => rowStarts[row + 1]! - rowStarts[row]!;
  const order = Array.from({ length: rowStarts.length - 1 }, (_, row) => row).sort(
    (a, b) => countOf(b) - countOf(a) || a - b,
  );
  return Uint32Array.from([...order, ...rowStarts, ...columns]);
}

/** Words that they take. */
export const listLength = ({ down }: Pick<BlockLayout, 'down'>, kept: number): number => 2 * down + 1 + kept;

/** The lists that such words hold. @throws ArgumentError where they are none of the matrix */
export function listsOf(label: string, words: Uint32Array, layout: Pick<BlockLayout, 'down' | 'across'>): BlockLists {
  const { down } = layout;
  const lists = { rowStarts: words.slice(down, 2 * down + 1), columns: words.slice(2 * down + 1) };
  const order = words.slice(0, down).sort();
  if (order.some((row, i) => row !== i)) {
    throw new ArgumentError(`${label}: the order of rows of blocks does not have each of ${down} once.`);
  }
  checkLists(label, lists, layout);
  return lists;
}
