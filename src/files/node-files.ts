import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../errors.ts';
import { checkCancelled } from './cancel.ts';
import { checkFileName } from './file-name.ts';
import type { ModelFiles } from './model-files.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { previousOf } from './node-paths.ts';
import { allocate, type ByteSource, checkRange, shortRead } from './source.ts';

/** Bytes of one read call: between two of them a cancelled run stops, and none passes the system's 2 GiB limit. */
const CHUNK_BYTES = 64 * 1024 * 1024;

/** A file on disk as a source. @throws FileError where it is missing, unreadable or no regular file. */
export async function openPath(path: string): Promise<ByteSource> {
  try {
    // Before opening: that alone would wait for ever on a named pipe.
    if (!(await stat(path)).isFile()) throw new FileError(`${path}: it is not a regular file. Name a file.`);
    const handle = await open(path, 'r');
    const { size } = await handle.stat();
    return {
      name: path,
      size,
      async read(offset, length, signal) {
        checkRange({ name: path, size }, offset, length);
        const bytes = allocate(path, length);
        let done = 0;
        while (done < length) {
          checkCancelled(signal);
          const { bytesRead } = await handle
            .read(bytes, done, Math.min(CHUNK_BYTES, length - done), offset + done)
            .catch((error: unknown) => Promise.reject(fileSystemError(path, error)));
          if (bytesRead === 0) throw shortRead(path, offset, length, done);
          done += bytesRead;
        }
        checkCancelled(signal);
        return bytes;
      },
      close: () => handle.close(),
    };
  } catch (error) {
    throw fileSystemError(path, error);
  }
}

/** A model in a folder on disk. @throws FileError where there is none. */
export async function nodeFolder(path: string): Promise<ModelFiles> {
  try {
    if (!(await stat(path)).isDirectory())
      throw new FileError(`${path}: it is no folder. Name the folder of a model, or a .safetensors or .gguf file.`);
  } catch (error) {
    const previous = previousOf(path);
    if (systemCode(error) === 'ENOENT' && (await isThere(previous))) {
      throw new FileError(`${path}: an interrupted run left its content at ${previous}; rename it back.`);
    }
    throw fileSystemError(path, error);
  }
  return {
    name: path,
    async open(file) {
      checkFileName(file, path);
      return openPath(join(path, file));
    },
    async has(file) {
      checkFileName(file, path);
      return isThere(join(path, file));
    },
  };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return false;
    throw fileSystemError(path, error);
  }
}
