import type { BlockLayout, BlockLists } from './block-layout.ts';

/** For each kept block where its values come from in a matrix [rows, k], and where they go in [kept, slots]. */
function* placesOf(
  { rowStarts, columns }: BlockLists,
  { block, down, width, slots }: BlockLayout,
  rows: number,
  k: number,
): Generator<readonly [matrix: number, value: number]> {
  for (let blockRow = 0; blockRow < down; blockRow++) {
    for (let at = rowStarts[blockRow]!; at < rowStarts[blockRow + 1]!; at++) {
      for (let r = 0; r < block.rows; r++) {
        for (let c = 0; c < block.columns; c++) {
          const [row, column] = [blockRow * block.rows + r, columns[at]! * block.columns + c];
          if (row < rows && column < k) yield [row * k + column, at * slots + r * width + c];
        }
      }
    }
  }
}

/** The blocks of a matrix that lists name. */
export function packBlocks(
  weights: ArrayLike<number>,
  lists: BlockLists,
  rows: number,
  k: number,
  layout: BlockLayout,
): Float32Array {
  const values = new Float32Array(lists.columns.length * layout.slots);
  for (const [from, to] of placesOf(lists, layout, rows, k)) values[to] = weights[from]!;
  return values;
}

/** The matrix [rows, k] that blocks stand for. */
export function unpackBlocks(
  values: ArrayLike<number>,
  lists: BlockLists,
  rows: number,
  k: number,
  layout: BlockLayout,
): Float32Array {
  const weights = new Float32Array(rows * k);
  for (const [to, from] of placesOf(lists, layout, rows, k)) weights[to] = values[from]!;
  return weights;
}
