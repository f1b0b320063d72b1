import { ArgumentError, FileError } from '../errors.ts';
import { nearest } from '../suggest.ts';
import { noSafetensors, parseHeader, type TensorInfo } from './safetensors-header.ts';
import { LENGTH_BYTES, MAX_HEADER_BYTES } from './safetensors-limits.ts';
import type { ByteSource } from './source.ts';
import { quote } from './text.ts';

export type { TensorInfo } from './safetensors-header.ts';

/** Reads rows of a tensor. */
export type ReadTensor = (
  tensor: string | TensorInfo,
  rowStart?: number,
  rowCount?: number,
  signal?: AbortSignal,
) => Promise<Uint8Array<ArrayBuffer>>;

/** An open safetensors file: the header is checked, the data stays where it is until read. */
export interface SafetensorsFile {
  readonly name: string;
  /** Of the whole file. */
  readonly bytes: number;
  /** The strings of `__metadata__`; no prototype. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * The little-endian bytes of rows `rowStart` to `rowStart + rowCount` of the first dimension; by default all. A scalar is one row.
   * @throws FileError for a name that the file lacks, or a file that shrank; ArgumentError for rows out of range, or, in types
   * of less than a byte, rows that begin or end inside one.
   */
  readonly read: ReadTensor;
  /** Closes the source. */
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks everything that its header says: see `parseHeader`.
 * @throws FileError that names the file, the tensor and the offset.
 */
export async function readSafetensors(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsFile> {
  const { name, size } = source;
  if (size < LENGTH_BYTES) {
    throw noSafetensors(name, `${size} bytes are too few`);
  }
  const prefix = await source.read(0, LENGTH_BYTES, signal);
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const why = `as safetensors, the header length at offset 0 is ${length} bytes, and at most ${MAX_HEADER_BYTES} are read`;
    throw noSafetensors(name, why, prefix);
  }
  const headerBytes = Number(length);
  if (headerBytes > size - LENGTH_BYTES) {
    if (/\.gguf$/i.test(name)) throw noSafetensors(name, '');
    throw new FileError(
      `${name}: the header at offset ${LENGTH_BYTES} takes ${headerBytes} bytes, but the file has ${size}. It is truncated; download it again.`,
    );
  }
  const { metadata, tensors } = parseHeader(name, await source.read(LENGTH_BYTES, headerBytes, signal), size);
  return {
    name,
    bytes: size,
    metadata,
    tensors,
    async read(tensor, rowStart = 0, rowCount, readSignal) {
      const info = findTensor(name, tensors, tensor);
      const [offset, byteLength] = rowRange(name, info, rowStart, rowCount);
      return source.read(offset, byteLength, readSignal);
    },
    close: () => source.close(),
  };
}

/** The tensor of that name, or a FileError that suggests the one that may be meant. */
export function findTensor<T extends TensorInfo>(
  file: string,
  tensors: ReadonlyMap<string, T>,
  tensor: string | TensorInfo,
): T {
  const wanted = typeof tensor === 'string' ? tensor : tensor.name;
  const info = tensors.get(wanted);
  if (info) return info;
  const near = nearest(wanted, tensors.keys());
  const none = tensors.size > 0 ? '' : ' It has none at all.';
  const hint = near === undefined ? none : ` Did you mean ${quote(near)}?`;
  throw new FileError(`${file}: there is no tensor ${quote(wanted)}.${hint}`);
}

/** Offset and length in bytes of some rows of a tensor. */
function rowRange(file: string, info: TensorInfo, rowStart: number, rowCount?: number): [number, number] {
  const rows = info.shape[0] ?? 1;
  const count = rowCount ?? rows - rowStart;
  const valid = Number.isSafeInteger(rowStart) && Number.isSafeInteger(count) && rowStart >= 0 && count >= 0;
  if (!valid || count > rows - rowStart) {
    throw new ArgumentError(
      `${file}: tensor ${quote(info.name)} has ${rows} rows; ${count} from row ${rowStart} are not among them.`,
    );
  }
  const rowBytes = rows === 0 ? 0 : info.byteLength / rows;
  const [start, byteLength] = [rowStart * rowBytes, count * rowBytes];
  if (!Number.isInteger(start) || !Number.isInteger(byteLength)) {
    throw new ArgumentError(
      `${file}: ${count} rows of tensor ${quote(info.name)} from row ${rowStart} are no whole bytes of ${info.type}. ` +
        'Read all rows, or multiples of eight.',
    );
  }
  return [info.offset + start, byteLength];
}
