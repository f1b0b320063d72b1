import { checkRange } from '../../../src/files/source.ts';
import { type ByteSource, blobSource, CancelledError, FileError } from '../../../src/index.ts';

/** A file that is on its way: what has arrived can be read, what has not is waited for. It is asked for once; when all of it is there the browser keeps it. */
export class ArrivingFile {
  readonly #name: string;
  #bytes = new Uint8Array(0);
  #arrived = 0;
  /** Bytes; unknown until the end where they come packed, since then the server says how many it sends. */
  #size: number | undefined;
  /** All of it, which the browser reads without the page's thread. */
  #whole: ByteSource | undefined;
  #blob: Blob | undefined;
  #error: FileError | undefined;
  /** Called when there is more, or an end. */
  #waiting: (() => void)[] = [];

  constructor(name: string, url: URL) {
    this.#name = name;
    this.#receive(url).catch((error: unknown) => {
      this.#error =
        error instanceof FileError
          ? error
          : new FileError(`${name}: the connection broke. Open the model once more.`, { cause: error });
      this.#tell();
    });
  }

  /** It will not arrive: ask anew. */
  get failed(): boolean {
    return this.#error !== undefined;
  }

  /** @throws FileError */
  async source(): Promise<ByteSource> {
    const name = this.#name;
    await this.#until(() => this.#size !== undefined);
    const size = this.#size!;
    return {
      name,
      size,
      read: async (offset, length, signal) => {
        checkRange({ name, size }, offset, length);
        const wake = () => this.#tell();
        signal?.addEventListener('abort', wake, { once: true });
        await this.#until(() => this.#arrived >= offset + length || signal?.aborted === true);
        signal?.removeEventListener('abort', wake);
        if (signal?.aborted) throw new CancelledError();
        if (this.#whole) return this.#whole.read(offset, length, signal);
        return this.#bytes.slice(offset, offset + length);
      },
      close: async () => undefined,
    };
  }

  /** All of it. @throws FileError */
  async whole(): Promise<Blob> {
    await this.#until(() => this.#blob !== undefined);
    return this.#blob!;
  }

  async #until(there: () => boolean): Promise<void> {
    while (!there()) {
      if (this.#error) throw this.#error;
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
  }

  #tell(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #receive(url: URL): Promise<void> {
    // Of a range servers send what is in the file: weights hardly shrink, and packing them would keep everyone waiting.
    const { ok, status, headers, body } = await fetch(url, { headers: { range: 'bytes=0-' } });
    if (!ok || !body) throw new FileError(`${this.#name}: HTTP ${status}. Reload the page.`);
    const length = headers.has('content-encoding') ? 0 : Number(headers.get('content-length') ?? 0);
    if (length > 0) {
      this.#bytes = new Uint8Array(length);
      this.#size = length;
      this.#tell();
    }
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.#makeRoom(this.#arrived + value.length);
      this.#bytes.set(value, this.#arrived);
      this.#arrived += value.length;
      this.#tell();
    }
    if (this.#arrived < length)
      throw new FileError(`${this.#name}: ${this.#arrived} of ${length} bytes came. Open the model once more.`);
    this.#size = this.#arrived;
    this.#blob = new Blob([this.#bytes.subarray(0, this.#arrived)]);
    this.#whole = blobSource(this.#name, this.#blob);
    this.#bytes = new Uint8Array(0);
    this.#tell();
  }

  /** Where nobody said how much there will be. */
  #makeRoom(bytes: number): void {
    if (bytes <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(bytes, 2 * this.#bytes.length));
    larger.set(this.#bytes.subarray(0, this.#arrived));
    this.#bytes = larger;
  }
}
