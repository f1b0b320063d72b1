import { NonFiniteError } from '../errors.ts';
import { float8Values, isFloat8 } from '../files/float8.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { nonFinite } from '../formats/checks.ts';
import type { ElementType, Format } from '../formats/format.ts';
import { type Chunk, storedRow } from './chunks.ts';

/** The error for the weight at `index` of a chunk with `k` columns. */
export const badWeight = (chunk: Chunk, index: number, k: number, what = 'is NaN or infinite') =>
  nonFinite(storedRow(chunk, Math.floor(index / k)) * k + (index % k), k, what, chunk.tensor.name);

/** @throws NonFiniteError for a NaN, or where `strict` an infinity, among the elements of a chunk that is copied. */
export function checkFinite(chunk: Chunk, info: TensorInfo, bytes: Uint8Array, strict: boolean): void {
  const { type, shape } = info;
  const bad = findNonFinite(type, bytes, strict);
  if (bad < 0) return;
  const what = strict ? 'is NaN or infinite' : 'is NaN';
  // The elements of a vector are the rows that were read, but people count columns.
  if (shape.length < 2) throw nonFinite(storedRow(chunk, bad), shape[0] ?? 1, what, info.name);
  const k = shape.slice(1).reduce((product, size) => product * size, 1);
  throw badWeight(chunk, bad, k, what);
}

/**
 * The same for weights that are quantized already and copied: their codes can't be wrong, the numbers that go with them can.
 * @param arrays of some rows, in the order of `format.arrays`
 * @throws NonFiniteError for a NaN or infinity among scales and minima
 */
export function checkScales(chunk: Chunk, format: Format, arrays: readonly Uint8Array[], k: number): void {
  for (const [i, { name, type, elementsPerRow, span }] of format.arrays.entries()) {
    const bad = findNonFinite(type, arrays[i]!, true);
    if (bad < 0) continue;
    if (span) {
      throw new NonFiniteError(
        `Of tensor "${chunk.tensor.name}" (${format.name}), the ${name} hold a value that is NaN or infinite. Repair the file, or compress the original model again.`,
      );
    }
    const perRow = elementsPerRow(k);
    throw new NonFiniteError(
      `Of tensor "${chunk.tensor.name}" (${format.name}), the ${name} hold a value that is NaN or infinite: in row ` +
        `${storedRow(chunk, Math.floor(bad / perRow))}, block ${bad % perRow}. ` +
        'Repair the file, or compress the original model again.',
    );
  }
}

/** Index of the first NaN, or with `infinite` the first infinity as well; -1 where there is none. */
function findNonFinite(type: ElementType, bytes: Uint8Array, infinite: boolean): number {
  if (isFloat8(type)) {
    const bad = Array.from(float8Values(type), infinite ? (x) => !Number.isFinite(x) : Number.isNaN);
    for (let i = 0; i < bytes.length; i++) if (bad[bytes[i]!]) return i;
    return -1;
  }
  const size = type === 'F64' ? 8 : type === 'F32' ? 4 : 2;
  // Without its sign, an infinity is an exponent of all ones, and every NaN is above that. A plain loop: this is all of a large file.
  const infinity = type === 'F32' ? 0x7f80_0000 : type === 'F16' ? 0x7c00 : type === 'BF16' ? 0x7f80 : undefined;
  if (infinity === undefined && type !== 'F64') return -1;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  if (infinity === undefined) {
    const values = new Float64Array(buffer, byteOffset, byteLength / size);
    return values.findIndex(infinite ? (x) => !Number.isFinite(x) : Number.isNaN);
  }
  const least = infinite ? infinity : infinity + 1;
  if (type === 'F32') {
    const words = new Uint32Array(buffer, byteOffset, byteLength / size);
    for (let i = 0; i < words.length; i++) if ((words[i]! & 0x7fff_ffff) >= least) return i;
    return -1;
  }
  const words = new Uint16Array(buffer, byteOffset, byteLength / size);
  for (let i = 0; i < words.length; i++) if ((words[i]! & 0x7fff) >= least) return i;
  return -1;
}
