import { type Format, type FormatArray, valuesOf } from '../formats/format.ts';
import { INTEGER_BITS, integerName } from '../formats/integer-names.ts';
import { contentBytes, formatBytes } from '../formats/layout.ts';
import { formatByName, formats } from '../formats/registry.ts';

/** A row that every block divides. */
const ROW = 4096;

/** Arrays that hold a weight's code; the others are what its block shares. */
const isCode = ({ name }: FormatArray) => name === 'codes' || name === 'high' || name === 'data';

/** Bits of the code of one weight. */
const codeBits = (format: Format): number =>
  format.arrays.filter(isCode).reduce((bits, array) => bits + (8 * contentBytes(array, 1, ROW)) / ROW, 0);

/** Formats up to this many bits hold the values −1, 0 and 1, for models that were trained so: none of them is a step. */
const TERNARY_BITS = 2;

/**
 * The next larger format, for a matrix that lost too much: the fewest code bits above those of `format`. One more bit quarters the
 * squared error, while a smaller block saves a few percent of it, so that smaller blocks are no step. What the same containers hold comes
 * first, so that a file stays one that its readers know; then the fewest bits, the same block, the same shared arrays, and the smaller one: `q4_1` → `q5_1` → `q8_0`, `int4-g64-asym` → `int8-g64-asym`. Above those is what the matrix had in the
 * original, if that is larger. Its blocks divide the rows wherever those of `format` do. For packed weights it is the next one of their values.
 */
export function nextFormat(stored: Format, original: Format | undefined): Format | undefined {
  const format = valuesOf(stored);
  const larger = [...siblings(format), ...formats].filter(
    (other) =>
      other.kind === 'block' &&
      !other.activations &&
      format.block % other.block === 0 &&
      codeBits(other) > Math.max(codeBits(format), TERNARY_BITS),
  );
  if (larger.length === 0) return original && codeBits(original) > codeBits(format) ? original : undefined;
  const unlike = (other: Format) => [
    containers(other) === containers(format) ? 0 : 1,
    codeBits(other),
    other.block === format.block && other.wholeRows === format.wholeRows ? 0 : 1,
    shared(other) === shared(format) ? 0 : 1,
    formatBytes(other, 1, ROW),
  ];
  return larger.sort((a, b) => compare(unlike(a), unlike(b)))[0];
}

/** Integer groups like these, of every width. */
const siblings = ({ integer }: Format): Format[] =>
  integer ? INTEGER_BITS.map((bits) => formatByName(integerName({ ...integer, bits }))) : [];

const containers = (format: Format): string => Object.keys(format.codecs).join();
const shared = ({ arrays }: Format): string =>
  arrays
    .filter((array) => !isCode(array))
    .map(({ name }) => name)
    .join();

/** Lexicographic. */
function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}
