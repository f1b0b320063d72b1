import { checkWeights } from './checks.ts';
import type { Format, FormatArray, HostArrays } from './format.ts';
import { shaderConstants } from './layout.ts';
import { checkPacking, type SparsePattern, sparseLayout } from './packed-layout.ts';
import { packSparse, unpackSparse } from './packed-reference.ts';

/** The array that says which column of its group each slot stands for. */
export const COLUMNS = 'columns';

const made = new Map<Format, Map<string, Format>>();

/** As recipes write it: `2:4`, `2:4x8`. */
export const patternText = ({ keep, of, rows = 1 }: SparsePattern): string =>
  `${keep}:${of}${rows > 1 ? `x${rows}` : ''}`;

/**
 * The format of weights of which an N:M pattern keeps some, packed (`sparseLayout`): the arrays of their values' format, for slots in place of columns, and
 * `columns`. It is the same object each time.
 * @param values how kept weights are stored
 * @throws ArgumentError for patterns that can't be packed, and formats that need whole rows
 */
export function packedFormat(values: Format, pattern: SparsePattern): Format {
  checkPacking(pattern, values);
  const text = patternText(pattern);
  const known = made.get(values) ?? new Map<string, Format>();
  made.set(values, known);
  const format = known.get(text) ?? makeFormat(values, pattern, `${values.name}@${text}`);
  known.set(text, format);
  return format;
}

function makeFormat(values: Format, pattern: SparsePattern, name: string): Format {
  const layout = (rows: number, k: number) => sparseLayout(pattern, values, rows, k);
  const { rows: band = 1 } = pattern;
  const arrays: FormatArray[] = values.arrays.map((array) => ({
    ...array,
    elementsPerRow: (k) => array.elementsPerRow(layout(1, k).slots),
  }));
  arrays.push({
    ...{ name: COLUMNS, type: 'U32', elementsPerRow: (k) => layout(1, k).words },
    ...(band > 1 && { band }),
  });
  return {
    ...{ name, kind: 'block', block: 1, arrays, shader: values.shader, constants: values.constants },
    constantsOf: (k) => shaderConstants(values, layout(1, k).slots),
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        const of = layout(rows, k);
        const packed = packSparse(weights, largestOfGroups(weights, rows, k, pattern), rows, k, of);
        return {
          ...values.reference.quantize(packed.values, rows, of.slots, options),
          [COLUMNS]: new Uint8Array(packed.columns.buffer),
        };
      },
      dequantize(host, rows, k) {
        const of = layout(rows, k);
        return unpackSparse(
          { values: values.reference.dequantize(host, rows, of.slots), columns: columnsOf(host) },
          ...([rows, k, of] as const),
        );
      },
    },
    packed: { pattern, values, layout },
    codecs: {},
  };
}

function columnsOf(host: HostArrays): Uint32Array {
  const bytes = host[COLUMNS]!.slice();
  return new Uint32Array(bytes.buffer);
}

/** The mask that keeps the largest weights of each group, over the rows of a band by their squares; of equal ones the first. */
function largestOfGroups(
  weights: Float32Array,
  rows: number,
  k: number,
  { keep, of, rows: band = 1 }: SparsePattern,
): Uint32Array {
  const words = Math.ceil(k / 32);
  const mask = new Uint32Array(rows * words);
  for (let first = 0; first < rows; first += band) {
    const end = Math.min(first + band, rows);
    for (let group = 0; group < k; group += of) {
      const columns = Array.from({ length: Math.min(of, k - group) }, (_, i) => group + i);
      const keys = new Map(columns.map((column) => [column, sizeOf(weights, k, column, first, end)]));
      const kept = columns.sort((a, b) => keys.get(b)! - keys.get(a)! || a - b).slice(0, keep);
      for (const column of kept) {
        for (let row = first; row < end; row++) mask[row * words + (column >> 5)]! |= 1 << (column & 31);
      }
    }
  }
  return mask;
}

function sizeOf(weights: Float32Array, k: number, column: number, first: number, end: number): number {
  let sum = 0;
  for (let row = first; row < end; row++) sum += weights[row * k + column]! ** 2;
  return sum;
}
