import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { partialOf } from './node-paths.ts';
import { releaseTemporary, trackTemporary } from './node-temporaries.ts';
import type { ByteSink, OutputOptions } from './sink.ts';

/**
 * A file on disk: written beside `path` under a temporary name, made durable and renamed into place by `commit`. A
 * killed process leaves the old file or none under `path`.
 * @throws FileError where `path` exists and `overwrite` is off, or is no regular file.
 */
export async function nodeFileSink(path: string, options: OutputOptions = {}): Promise<ByteSink> {
  await checkTarget(path, options);
  const partial = partialOf(path);
  const file = await createFile(partial, path);
  trackTemporary(partial);
  let committed = false;
  const abort = async (): Promise<void> => {
    if (committed) return;
    await file.abort();
    releaseTemporary(partial);
  };
  return {
    name: path,
    async write(bytes) {
      await guarded(() => file.write(bytes), abort);
    },
    async commit() {
      await guarded(async () => {
        await file.commit();
        // It may have appeared meanwhile.
        await checkTarget(path, options);
        await rename(partial, path).catch((error: unknown) => Promise.reject(fileSystemError(path, error)));
        committed = true;
        releaseTemporary(partial);
        await syncFolder(dirname(path));
      }, abort);
    },
    abort,
  };
}

/** A file that is written where it is to stay, durable at `commit`; `name` is what messages call it. */
export async function createFile(path: string, name = path): Promise<ByteSink> {
  let handle: FileHandle | undefined = await open(path, 'wx').catch((error: unknown) =>
    Promise.reject(fileSystemError(name, error)),
  );
  const take = (): FileHandle => {
    if (!handle) throw new FileError(`${name}: written to after it was complete or given up.`);
    return handle;
  };
  return {
    name,
    async write(bytes) {
      const file = take();
      try {
        // One call may write less than it was given.
        for (let done = 0; done < bytes.byteLength; ) {
          done += (await file.write(bytes, done, bytes.byteLength - done)).bytesWritten;
        }
      } catch (error) {
        throw fileSystemError(name, error);
      }
    },
    async commit() {
      const file = take();
      try {
        await file.sync();
        handle = undefined;
        await file.close();
      } catch (error) {
        throw fileSystemError(name, error);
      }
    },
    async abort() {
      const file = handle;
      handle = undefined;
      await file?.close().catch(() => undefined);
      await rm(path, { force: true });
    },
  };
}

/** Makes renames in a folder durable, where the system can (Windows can't open folders). */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

async function checkTarget(path: string, options: OutputOptions): Promise<void> {
  try {
    const target = await lstat(path);
    if (!target.isFile()) throw new FileError(`${path}: it exists and is not a regular file. Choose another name.`);
    if (!options.overwrite) throw new FileError(`${path}: it exists. Choose another name or allow overwriting.`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw fileSystemError(path, error);
  }
}

/** Runs `work`; where it fails, cleans up before the error goes on. */
async function guarded(work: () => Promise<void>, cleanUp: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await cleanUp().catch(() => undefined);
    throw error;
  }
}
