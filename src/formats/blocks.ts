import { type BlockLists, type BlockSize, blockLayout, listLength, listsOf, listWords } from './block-layout.ts';
import { packBlocks, unpackBlocks } from './block-reference.ts';
import { checkWeights } from './checks.ts';
import type { Format, FormatArray, HostArrays } from './format.ts';
import { shaderConstants } from './layout.ts';

/** The array that says which blocks there are: `listWords`. */
export const LISTS = 'lists';

/** A matrix of which some blocks are stored. */
export interface BlockMatrix {
  readonly block: BlockSize;
  readonly rows: number;
  readonly k: number;
  /** Blocks that are stored. */
  readonly kept: number;
}

const made = new Map<Format, Map<string, Format>>();

/**
 * The format of a matrix of which some blocks are stored, block-sparse (`blockLayout`): the arrays of their values' format, a row for each block, and `lists`. It is of one
 * matrix, whose rows are not cut, and the same object each time. Its name says what share of the blocks is gone, in whole percents.
 * @param values how blocks are stored
 * @throws ArgumentError, FormatError for blocks and formats that do not go together
 */
export function blocksFormat(values: Format, { block, rows, k, kept }: BlockMatrix): Format {
  const known = made.get(values) ?? new Map<string, Format>();
  made.set(values, known);
  const key = `${block.rows} ${block.columns} ${rows} ${k} ${kept}`;
  const format = known.get(key) ?? makeFormat(values, { block, rows, k, kept });
  known.set(key, format);
  return format;
}

/**
 * The format for a matrix of another size: of one that is block-sparse with as large a share of its blocks; others are of any size.
 * @throws FormatError where what fills blocks of that size up could not be 0
 */
export function resizedFormat(format: Format, rows: number, k: number): Format {
  if (!format.blocks) return format;
  const { values, layout, kept } = format.blocks;
  const { block } = layout;
  const { down, across } = blockLayout(block, values, rows, k);
  const share = kept / (layout.down * layout.across);
  return blocksFormat(values, { block, rows, k, kept: Math.max(1, Math.round(share * down * across)) });
}

function makeFormat(values: Format, { block, rows, k, kept }: BlockMatrix): Format {
  const layout = blockLayout(block, values, rows, k);
  const { slots, down, across } = layout;
  const gone = Math.round(100 * (1 - kept / (down * across)));
  const arrays: FormatArray[] = values.arrays.map((array) => ({
    ...array,
    ...{ sets: kept, elementsPerRow: () => array.elementsPerRow(slots) },
  }));
  arrays.push({ name: LISTS, type: 'U32', sets: 1, elementsPerRow: () => listLength(layout, kept) });
  const listsIn = (host: HostArrays): BlockLists => {
    const bytes = host[LISTS]!.slice();
    return listsOf(LISTS, new Uint32Array(bytes.buffer, 0, listLength(layout, kept)), layout);
  };
  return {
    ...{ name: `${values.name}@block:${block.rows}x${block.columns}:${gone}%`, kind: 'block', block: 1, arrays },
    ...{ shader: values.shader, constants: values.constants },
    constantsOf: () => shaderConstants(values, slots),
    reference: {
      quantize(weights, count, width, options) {
        checkWeights(weights, count, width);
        const lists = largestBlocks(weights, rows, k, layout, kept);
        return {
          ...values.reference.quantize(packBlocks(weights, lists, rows, k, layout), kept, slots, options),
          [LISTS]: new Uint8Array(listWords(lists).buffer),
        };
      },
      dequantize(host) {
        return unpackBlocks(values.reference.dequantize(host, kept, slots), listsIn(host), rows, k, layout);
      },
    },
    blocks: { values, layout, rows, k, kept },
    codecs: {},
  };
}

/** The blocks with the largest sums of squares; of equal ones the first. */
function largestBlocks(
  weights: Float32Array,
  rows: number,
  k: number,
  { block, down, across }: Pick<ReturnType<typeof blockLayout>, 'block' | 'down' | 'across'>,
  kept: number,
): BlockLists {
  const sums = new Float64Array(down * across);
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / block.rows) * across;
    for (let column = 0; column < k; column++) {
      sums[first + Math.floor(column / block.columns)]! += weights[row * k + column]! ** 2;
    }
  }
  const order = Array.from(sums.keys()).sort((a, b) => sums[b]! - sums[a]! || a - b);
  const stays = order.slice(0, kept).sort((a, b) => a - b);
  const rowStarts = new Uint32Array(down + 1);
  for (const at of stays) rowStarts[Math.floor(at / across) + 1]!++;
  for (let row = 0; row < down; row++) rowStarts[row + 1]! += rowStarts[row]!;
  return { rowStarts, columns: Uint32Array.from(stays, (at) => at % across) };
}
