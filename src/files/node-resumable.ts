import type { FileHandle } from 'node:fs/promises';
import { FileError } from '../errors.ts';
import { fileSystemError } from './node-error.ts';
import { openOwn } from './node-own-file.ts';
import type { ResumableSink } from './sink.ts';
import { allocate, shortRead } from './source.ts';

/**
 * A file that goes on where an earlier run ended; `abort` closes it and leaves it.
 * @param name what messages call it
 * @throws FileError
 */
export async function openResumable(path: string, name: string): Promise<ResumableSink> {
  let handle: FileHandle | undefined = await openOwn(path, name);
  const { size } = await handle.stat();
  let end = size;
  const withFile = async <T>(work: (file: FileHandle) => Promise<T>): Promise<T> => {
    if (!handle) throw new FileError(`${name}: written to after it was complete or given up.`);
    try {
      return await work(handle);
    } catch (error) {
      throw fileSystemError(name, error);
    }
  };
  const close = async (): Promise<void> => {
    const file = handle;
    handle = undefined;
    await file?.close();
  };
  return {
    name,
    size,
    read: (offset, length) =>
      withFile(async (file) => {
        const bytes = allocate(name, length);
        for (let done = 0; done < length; ) {
          const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
          if (bytesRead === 0) throw shortRead(name, offset, length, done);
          done += bytesRead;
        }
        return bytes;
      }),
    truncate: (to) =>
      withFile(async (file) => {
        await file.truncate(to);
        end = to;
      }),
    write: (bytes) =>
      withFile(async (file) => {
        for (let done = 0; done < bytes.byteLength; ) {
          done += (await file.write(bytes, done, bytes.byteLength - done, end + done)).bytesWritten;
        }
        end += bytes.byteLength;
      }),
    flush: () => withFile((file) => file.datasync()),
    commit: async () => {
      await withFile((file) => file.sync());
      await close();
    },
    abort: () => close().catch(() => undefined),
  };
}
