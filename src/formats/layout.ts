import { ArgumentError } from '../errors.ts';
import { ELEMENT_BYTES } from '../files/element-type.ts';
import type { Format, FormatArray, HostArrays } from './format.ts';

/** Bytes that `rows` rows of `k` weights take in one array of a device layout, before padding. */
export function contentBytes(array: FormatArray, rows: number, k: number): number {
  const [count, elements] = arrayShape(array, rows, k);
  return count * elements * ELEMENT_BYTES[array.type];
}

/** How many sets of elements `rows` rows of `k` weights have in an array, and the elements of a set: [rows, elements of a row], say. */
export function arrayShape(array: FormatArray, rows: number, k: number): [number, number] {
  const { span, band = 1, sets, elementsPerRow } = array;
  if (sets !== undefined) return [rows > 0 ? sets : 0, elementsPerRow(k)];
  return span ? [Math.ceil((rows * k) / span), elementsPerRow(span)] : [Math.ceil(rows / band), elementsPerRow(k)];
}

/** The sets of elements that start in some rows: of rows that follow each other each set once. */
export function setsOf(
  { span, band = 1, sets }: FormatArray,
  start: number,
  rows: number,
  k: number,
): { start: number; count: number } {
  if (sets !== undefined) return { start: 0, count: sets };
  if (!span) {
    const first = Math.ceil(start / band);
    return { start: first, count: Math.ceil((start + rows) / band) - first };
  }
  const first = Math.ceil((start * k) / span);
  return { start: first, count: Math.ceil(((start + rows) * k) / span) - first };
}

/** Rows that are cut off start at a multiple of this many, so that all arrays do. */
export function rowMultiple(format: Format, k: number): number {
  return Math.max(
    format.blocks?.rows ?? 1,
    ...format.arrays.map(({ span, band = 1 }) => (span ? span / greatestCommonDivisor(span, k) : band)),
  );
}

/** Of two whole numbers. */
export const greatestCommonDivisor = (a: number, b: number): number => (b === 0 ? a : greatestCommonDivisor(b, a % b));

/** The same, padded to whole 32-bit words: the size of the device buffer. */
export function arrayBytes(array: FormatArray, rows: number, k: number): number {
  return Math.ceil(contentBytes(array, rows, k) / 4) * 4;
}

/** Bytes that a weight takes on the device, all its arrays together. */
export function formatBytes(format: Format, rows: number, k: number): number {
  return format.arrays.reduce((sum, array) => sum + arrayBytes(array, rows, k), 0);
}

/** Weights of a row of `k` that share a scale. */
export const groupOf = (format: Format, k: number): number => (format.wholeRows ? k : format.block);

/** Values for the `override`s of a format's shader, for rows of `k` weights. */
export const shaderConstants = (format: Format, k: number): Readonly<Record<string, number>> => ({
  ...format.constants,
  ...format.constantsOf?.(k),
});

/** Zeroed arrays of the right sizes. */
export function allocateArrays(arrays: readonly FormatArray[], rows: number, k: number): HostArrays {
  return Object.fromEntries(arrays.map((array) => [array.name, new Uint8Array(arrayBytes(array, rows, k))]));
}

/** One array of a weight, after checking that it is there and has the size that the layout gives it. */
export function takeArray(host: HostArrays, array: FormatArray, rows: number, k: number): Uint8Array {
  const bytes = host[array.name];
  const wanted = arrayBytes(array, rows, k);
  if (bytes?.length !== wanted) {
    throw new ArgumentError(
      `Array "${array.name}" of a ${rows} x ${k} weight has ${bytes?.length ?? 'no'} bytes; the layout takes ${wanted}.`,
    );
  }
  return bytes;
}

/** Little-endian 16-bit element `index`. */
export function readU16(bytes: Uint8Array, index: number): number {
  return bytes[2 * index]! | (bytes[2 * index + 1]! << 8);
}

/** Stores the little-endian 16-bit element `index`. */
export function writeU16(bytes: Uint8Array, index: number, value: number): void {
  bytes[2 * index] = value;
  bytes[2 * index + 1] = value >>> 8;
}
