import { lstat, rm } from 'node:fs/promises';
import { fileSystemError, systemCode } from './node-error.ts';
import { type NodeJournal, openJournal } from './node-journal.ts';
import { takeLock } from './node-lock.ts';
import { journalOf, lockOf, resumablePartialOf } from './node-paths.ts';

/** What runs that go on with each other keep beside their target. */
export interface Kept {
  /** The output as far as it is written: a file or a folder, or nothing yet. */
  readonly partial: string;
  readonly journal: NodeJournal;
  /** After a run that did not end well: keeps what is finished; where nothing is, nothing is left. */
  leave(): Promise<void>;
  /** After `partial` was renamed to the target. */
  done(): Promise<void>;
}

/**
 * Takes over what is kept for the target `path`.
 * @throws FileError where another run is at work on it
 */
export async function openKept(path: string): Promise<Kept> {
  const partial = resumablePartialOf(path);
  const journalPath = journalOf(path);
  const unlock = await takeLock(lockOf(path), path);
  try {
    // A run that was killed as it ended had nothing left to do but this.
    if (!(await isThere(partial, path)) && (await isThere(journalPath, path))) await rm(journalPath);
    const journal = await openJournal(journalPath, path);
    return {
      partial,
      journal,
      async leave() {
        // The first line says which job it is: by itself it is worth nothing.
        if (journal.count() > 1) await journal.close();
        else {
          await rm(partial, { recursive: true, force: true });
          await journal.remove();
        }
        await unlock();
      },
      async done() {
        await journal.remove();
        await unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function isThere(path: string, name: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw fileSystemError(name, error);
  }
}
