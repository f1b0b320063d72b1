import { FileError } from '../errors.ts';
import type { ByteSink } from './sink.ts';
import { webFileError } from './web-file-error.ts';

/**
 * A file of a browser's file system, one that a user chose by `showSaveFilePicker`, say. What is written goes to a swap file
 * and replaces the content at `commit`; until then, and after `abort`, the file is as it was, which for a new one is empty.
 * @param name what error messages call it
 * @throws FileError where the page may not write there, or the file is being written elsewhere
 */
export async function fileSystemSink(handle: FileSystemFileHandle, name = handle.name): Promise<ByteSink> {
  let stream: FileSystemWritableFileStream | undefined = await handle
    .createWritable()
    .catch((error: unknown) => Promise.reject(webFileError(name, error)));
  const take = (): FileSystemWritableFileStream => {
    if (!stream) throw new FileError(`${name}: written to after it was complete or given up.`);
    return stream;
  };
  return {
    name,
    async write(bytes) {
      try {
        await take().write(bytes as Uint8Array<ArrayBuffer>);
      } catch (error) {
        throw webFileError(name, error);
      }
    },
    async commit() {
      const open = take();
      try {
        await open.close();
        stream = undefined;
      } catch (error) {
        throw webFileError(name, error);
      }
    },
    async abort() {
      const open = stream;
      stream = undefined;
      // A stream that failed has dropped its swap file already.
      await open?.abort().catch(() => undefined);
    },
  };
}
