import { FileError } from '../errors.ts';
import { checkCancelled } from './cancel.ts';

/** Random access to the bytes of one file, wherever it lives. */
export interface ByteSource {
  /** What error messages call it: a path, a URL, a file's name. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`; the caller owns them.
   * @throws FileError where the range leaves the file or the file gives fewer bytes.
   * @throws CancelledError where `signal` fired.
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /** Frees what it holds; nothing can be read after. */
  close(): Promise<void>;
}

/** Refuses a range that is not inside `source`. */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || length > source.size - offset) {
    throw new FileError(
      `${source.name}: ${length} bytes at offset ${offset} are outside the file of ${source.size} bytes. ` +
        'The file is truncated or inconsistent; download it again.',
    );
  }
}

/** The error for a file that ended before its size said so. */
export const shortRead = (name: string, offset: number, wanted: number, got: number): FileError =>
  new FileError(
    `${name}: ${got} of ${wanted} bytes came from offset ${offset}. The file shrank or the connection broke; try again.`,
  );

/** A buffer for `length` bytes of the file `name`; a FileError where this machine can't give one that large. */
export function allocate(name: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch {
    throw new FileError(`${name}: no memory for ${length} bytes at once. Read fewer rows at a time.`);
  }
}

/** Bytes in memory as a source. They are not copied until read. */
export function memorySource(name: string, data: ArrayBuffer | Uint8Array): ByteSource {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const size = bytes.byteLength;
  return {
    name,
    size,
    async read(offset, length, signal) {
      checkCancelled(signal);
      checkRange({ name, size }, offset, length);
      const out = allocate(name, length);
      out.set(bytes.subarray(offset, offset + length));
      return out;
    },
    async close() {},
  };
}

/** A `Blob`, such as a file that a user chose in a browser, as a source. */
export function blobSource(name: string, blob: Blob): ByteSource {
  const { size } = blob;
  return {
    name,
    size,
    async read(offset, length, signal) {
      checkCancelled(signal);
      checkRange({ name, size }, offset, length);
      let bytes: Uint8Array<ArrayBuffer>;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (error) {
        throw new FileError(`${name}: the browser could not read it; it may have changed since it was chosen.`, {
          cause: error,
        });
      }
      checkCancelled(signal);
      if (bytes.byteLength !== length) throw shortRead(name, offset, length, bytes.byteLength);
      return bytes;
    },
    async close() {},
  };
}
