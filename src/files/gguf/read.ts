import { ArgumentError, FileError } from '../../errors.ts';
import type { ByteSource } from '../source.ts';
import { quote } from '../text.ts';
import { type GgufScalar, type GgufTensor, readHeader } from './header.ts';
import type { ArraySpan } from './scan.ts';
import { ValueType, valueBytes } from './value-types.ts';

export type { GgufScalar, GgufTensor } from './header.ts';

/** An open GGUF file: the header is checked; arrays of the metadata and tensors stay where they are until read. */
export interface GgufFile {
  readonly name: string;
  /** Of the whole file. */
  readonly bytes: number;
  /** The metadata, without its arrays. */
  readonly scalars: ReadonlyMap<string, GgufScalar>;
  /** Where the arrays of the metadata lie. */
  readonly arrays: ReadonlyMap<string, ArraySpan>;
  /** In the order of their data, under their own names. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** An array of strings; undefined where the file has none of that name. @throws FileError where it holds something else */
  strings(key: string, signal?: AbortSignal): Promise<string[] | undefined>;
  /** An array of numbers of at most 32 bits; undefined where the file has none of that name. @throws FileError where it holds something else */
  numbers(key: string, signal?: AbortSignal): Promise<number[] | undefined>;
  /** The bytes of an array's elements as they are. */
  arrayBytes(span: ArraySpan, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * The bytes of some rows of a tensor as they are, whatever its type. Rows count over all dimensions but the last; a vector is
   * one row unless its type has no blocks: then each element is one.
   * @throws ArgumentError for rows that are not there
   */
  rows(tensor: GgufTensor, rowStart: number, rowCount: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the source. */
  close(): Promise<void>;
}

/** Rows of a tensor as `GgufFile.rows` counts them. */
export function rowCount({ shape, type }: GgufTensor): number {
  if (shape.length === 1) return type.block === 1 ? shape[0]! : 1;
  return shape.slice(0, -1).reduce((product, size) => product * size, 1);
}

/**
 * Opens a GGUF file (version 3, little-endian) and checks everything that its header says.
 * @throws FileError that names the file, the tensor or key, and the offset
 */
export async function readGguf(source: ByteSource, signal?: AbortSignal): Promise<GgufFile> {
  const { name } = source;
  const { scalars, arrays, tensors } = await readHeader(source, signal);
  const arrayBytes = (span: ArraySpan, stop = signal) => source.read(span.offset, span.byteLength, stop);
  const mismatch = (key: string, wanted: string): never => {
    throw new FileError(
      `${name}: ${quote(key)} is no array of ${wanted}. The file was written wrongly; convert it again.`,
    );
  };
  return {
    name,
    bytes: source.size,
    scalars,
    arrays,
    tensors,
    arrayBytes,
    async strings(key, stop) {
      const span = arrays.get(key);
      if (!span) return scalars.has(key) ? mismatch(key, 'strings') : undefined;
      if (span.elementType !== ValueType.STRING) mismatch(key, 'strings');
      return decodeStrings(name, key, span, await arrayBytes(span, stop));
    },
    async numbers(key, stop) {
      const span = arrays.get(key);
      if (!span) return scalars.has(key) ? mismatch(key, 'numbers') : undefined;
      const read = NUMBERS[span.elementType];
      const size = valueBytes(span.elementType);
      if (!read || size === undefined) return mismatch(key, 'numbers');
      const view = new DataView((await arrayBytes(span, stop)).buffer);
      return Array.from({ length: span.count }, (_, i) => read(view, i * size));
    },
    async rows(tensor, rowStart, count, stop) {
      const all = rowCount(tensor);
      const valid = Number.isSafeInteger(rowStart) && Number.isSafeInteger(count) && rowStart >= 0 && count >= 0;
      if (!valid || count > all - rowStart) {
        throw new ArgumentError(
          `${name}: tensor ${quote(tensor.name)} has ${all} rows; ${count} from row ${rowStart} are not among them.`,
        );
      }
      const bytes = tensor.byteLength / all;
      return source.read(tensor.offset + rowStart * bytes, count * bytes, stop);
    },
    close: () => source.close(),
  };
}

const NUMBERS: Partial<Record<ValueType, (view: DataView, at: number) => number>> = {
  [ValueType.UINT8]: (view, at) => view.getUint8(at),
  [ValueType.INT8]: (view, at) => view.getInt8(at),
  [ValueType.UINT16]: (view, at) => view.getUint16(at, true),
  [ValueType.INT16]: (view, at) => view.getInt16(at, true),
  [ValueType.UINT32]: (view, at) => view.getUint32(at, true),
  [ValueType.INT32]: (view, at) => view.getInt32(at, true),
  [ValueType.FLOAT32]: (view, at) => view.getFloat32(at, true),
  [ValueType.BOOL]: (view, at) => view.getUint8(at),
};

/** The scan has found every length inside the array. */
function decodeStrings(
  file: string,
  key: string,
  { count, offset }: ArraySpan,
  bytes: Uint8Array<ArrayBuffer>,
): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const strings: string[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    // Lengths were checked by the scan and stay below 2^32; the file may have changed since.
    const length = at + 8 <= bytes.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY;
    if (length > bytes.byteLength - at - 8) {
      throw new FileError(
        `${file}: element ${i} of ${quote(key)} at offset ${offset + at} has changed since it was opened.`,
      );
    }
    try {
      strings.push(decoder.decode(bytes.subarray(at + 8, at + 8 + length)));
    } catch {
      throw new FileError(`${file}: element ${i} of ${quote(key)} at offset ${offset + at} is not valid UTF-8.`);
    }
    at += 8 + length;
  }
  return strings;
}
