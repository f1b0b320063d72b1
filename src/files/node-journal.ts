import { type FileHandle, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { syncFolder } from './node-folders.ts';
import { openOwn } from './node-own-file.ts';
import type { Journal } from './sink.ts';

/** A journal has some hundred bytes a tensor. */
const MAX_JOURNAL_BYTES = 512 * 1024 * 1024;

const NEWLINE = 0x0a;

/** A journal in a file of its own. */
export interface NodeJournal extends Journal {
  /** Lines that it has now. */
  count(): number;
  close(): Promise<void>;
  /** Closes it and removes the file. */
  remove(): Promise<void>;
}

/**
 * Reads the journal at `path`, if there is one; a file is made by the first `append`.
 * @param name what messages call the output that it is about
 * @throws FileError
 */
export async function openJournal(path: string, name: string): Promise<NodeJournal> {
  const bytes = await readIfThere(path, name);
  const lines: string[] = [];
  /** Where each line ends in the file. */
  const ends: number[] = [];
  for (let start = 0; ; ) {
    const end = bytes.indexOf(NEWLINE, start);
    if (end < 0) break;
    lines.push(new TextDecoder().decode(bytes.subarray(start, end)));
    ends.push((start = end + 1));
  }
  let handle: FileHandle | undefined;
  const take = async (): Promise<FileHandle> => {
    if (handle) return handle;
    handle = await openOwn(path, name);
    await handle.truncate(ends.at(-1) ?? 0);
    await syncFolder(dirname(path));
    return handle;
  };
  const close = async (): Promise<void> => {
    const file = handle;
    handle = undefined;
    await file?.close();
  };
  return {
    lines,
    count: () => ends.length,
    async keep(count) {
      ends.length = Math.min(count, ends.length);
      const file = await take();
      await file.truncate(ends.at(-1) ?? 0);
      await file.datasync();
    },
    async append(line) {
      try {
        const file = await take();
        const start = ends.at(-1) ?? 0;
        const text = new TextEncoder().encode(`${line}\n`);
        for (let done = 0; done < text.byteLength; ) {
          done += (await file.write(text, done, text.byteLength - done, start + done)).bytesWritten;
        }
        await file.datasync();
        ends.push(start + text.byteLength);
      } catch (error) {
        throw fileSystemError(name, error);
      }
    },
    close,
    async remove() {
      await close();
      await rm(path, { force: true });
    },
  };
}

async function readIfThere(path: string, name: string): Promise<Uint8Array> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const { size } = await handle.stat();
    if (size > MAX_JOURNAL_BYTES) throw new FileError(`${path}: ${size} bytes are no journal of ours. Remove it.`);
    return await handle.readFile();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return new Uint8Array(0);
    throw fileSystemError(name, error);
  } finally {
    await handle?.close();
  }
}
