import { FileError } from '../../errors.ts';
import type { ByteSource } from '../source.ts';
import { MAX_HEADER_BYTES } from './limits.ts';

/** Bytes that one read of the source fetches: few requests for a remote file, little memory. */
const WINDOW_BYTES = 1024 * 1024;

/** Reads a file front to back through a small window. Wait for `need` before the bytes are taken. */
export class ForwardReader {
  readonly #source: ByteSource;
  readonly #signal: AbortSignal | undefined;
  /** Nothing behind this may be read. */
  readonly #limit: number;
  #window = new Uint8Array(0);
  #view = new DataView(this.#window.buffer);
  #windowStart = 0;
  /** Offset in the file of the next byte. */
  offset: number;

  constructor(source: ByteSource, start: number, signal?: AbortSignal) {
    this.#source = source;
    this.#signal = signal;
    this.#limit = Math.min(source.size, MAX_HEADER_BYTES);
    this.offset = start;
  }

  /** Whether `need` would have nothing to wait for. */
  has(length: number): boolean {
    const at = this.offset - this.#windowStart;
    return at >= 0 && at + length <= this.#window.byteLength;
  }

  /** Fetches the next `length` bytes. `what` they are is for messages. @throws FileError where the header ends before */
  async need(length: number, what: string): Promise<void> {
    this.check(length, what);
    if (this.has(length)) return;
    const size = Math.max(length, Math.min(WINDOW_BYTES, this.#limit - this.offset));
    this.#window = await this.#source.read(this.offset, size, this.#signal);
    this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.byteLength);
    this.#windowStart = this.offset;
  }

  /** Passes over bytes without reading them. @throws FileError where the header ends before */
  skip(length: number, what: string): void {
    this.check(length, what);
    this.offset += length;
  }

  /** @throws FileError where fewer than `length` bytes are left */
  check(length: number, what: string): void {
    if (length <= this.#limit - this.offset) return;
    const end =
      this.#limit < this.#source.size
        ? `the header would take more than ${MAX_HEADER_BYTES} bytes`
        : `the file ends at ${this.#source.size}. It is truncated; download it again`;
    throw new FileError(`${this.#source.name}: ${what} at offset ${this.offset} takes ${length} bytes, but ${end}.`);
  }

  u32(): number {
    const value = this.#view.getUint32(this.offset - this.#windowStart, true);
    this.offset += 4;
    return value;
  }

  u64(): bigint {
    const value = this.#view.getBigUint64(this.offset - this.#windowStart, true);
    this.offset += 8;
    return value;
  }

  /** The next bytes; a copy. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const at = this.offset - this.#windowStart;
    this.offset += length;
    return this.#window.slice(at, at + length);
  }
}
