import type { Format } from '../formats/format.ts';
import { contentBytes, formatBytes } from '../formats/layout.ts';
import { formats } from '../formats/registry.ts';

/** A row that every block divides. */
const ROW = 4096;

/** Bits of the code of one weight, without what its block shares. */
const codeBits = (format: Format): number => (8 * contentBytes(format.arrays[0]!, 1, ROW)) / ROW;

/**
 * The next larger format, for a matrix that lost too much: the fewest code bits above those of `format`. One more bit quarters the
 * squared error, while a smaller block saves a few percent of it, so that smaller blocks are no step. Among formats of as many bits, the
 * same block comes first (it divides the rows), then the same arrays, then the same containers, then the smaller one: `q4_0` → `q8_0`,
 * `int4-g64-asym` → `int8-g64-asym`. Above those is what the matrix had in the original, if that is larger.
 */
export function nextFormat(format: Format, original: Format | undefined): Format | undefined {
  const larger = formats.filter((other) => other.kind === 'block' && codeBits(other) > codeBits(format));
  if (larger.length === 0) return original && codeBits(original) > codeBits(format) ? original : undefined;
  const fewest = Math.min(...larger.map(codeBits));
  const unlike = (other: Format) => [
    other.block === format.block ? 0 : 1,
    names(other) === names(format) ? 0 : 1,
    containers(other) === containers(format) ? 0 : 1,
    formatBytes(other, 1, ROW),
  ];
  return larger.filter((other) => codeBits(other) === fewest).sort((a, b) => compare(unlike(a), unlike(b)))[0];
}

const names = (format: Format): string => format.arrays.map(({ name }) => name).join();
const containers = (format: Format): string => Object.keys(format.codecs).join();

/** Lexicographic. */
function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}
