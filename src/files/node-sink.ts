import { type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { syncFolder } from './node-folders.ts';
import { openKept } from './node-kept.ts';
import { partialOf } from './node-paths.ts';
import { openResumable } from './node-resumable.ts';
import { releaseTemporary, trackTemporary } from './node-temporaries.ts';
import type { ByteSink, OutputOptions, ResumableSink } from './sink.ts';

/**
 * A file on disk: written beside `path` under a temporary name, made durable and renamed into place by `commit`. A
 * killed process leaves the old file or none under `path`.
 * @throws FileError where `path` exists and `overwrite` is off, or is no regular file; with `resume` also where another run
 * is at work on it.
 */
export async function nodeFileSink(path: string, options: OutputOptions = {}): Promise<ByteSink> {
  if (options.resume) return keptFileSink(path, options);
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
        await moveIntoPlace(partial, path, options);
        committed = true;
        releaseTemporary(partial);
      }, abort);
    },
    abort,
  };
}

/** The same under a name that the next run finds again. */
async function keptFileSink(path: string, options: OutputOptions): Promise<ByteSink> {
  const kept = await openKept(path);
  try {
    await checkTarget(path, options);
  } catch (error) {
    await kept.leave();
    throw error;
  }
  let file: ResumableSink | undefined;
  let over = false;
  const take = async (): Promise<ResumableSink> => {
    if (over) throw new FileError(`${path}: written to after it was complete or given up.`);
    file ??= await openResumable(kept.partial, path);
    return file;
  };
  const abort = async (): Promise<void> => {
    if (over) return;
    over = true;
    await file?.abort();
    await kept.leave();
  };
  const commit = async (): Promise<void> => {
    await guarded(async () => {
      await (await take()).commit();
      await moveIntoPlace(kept.partial, path, options);
      over = true;
      await kept.done();
    }, abort);
  };
  return {
    name: path,
    async write(bytes) {
      await guarded(async () => (await take()).write(bytes), abort);
    },
    commit,
    abort,
    resumable: { journal: kept.journal, reopen: async () => ({ ...(await take()), commit, abort }) },
  };
}

/** Renames a complete file. @throws FileError where its target appeared meanwhile */
async function moveIntoPlace(partial: string, path: string, options: OutputOptions): Promise<void> {
  await checkTarget(path, options);
  await rename(partial, path).catch((error: unknown) => Promise.reject(fileSystemError(path, error)));
  await syncFolder(dirname(path));
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
