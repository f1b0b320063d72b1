import { readFile, rm, writeFile } from 'node:fs/promises';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { releaseTemporary, trackTemporary } from './node-temporaries.ts';

/** Locks that this process holds. */
const held = new Set<string>();

/**
 * Keeps a second run from the same output. A lock that a killed process left is taken over.
 * @param name what messages call the output
 * @returns what gives the lock back
 * @throws FileError where another run holds it
 */
export async function takeLock(path: string, name: string): Promise<() => Promise<void>> {
  for (let attempt = 0; ; attempt++) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      break;
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw fileSystemError(name, error);
      const owner = Number(await readFile(path, 'utf8').catch(() => ''));
      if (attempt > 0 || isAtWork(owner, path)) {
        throw new FileError(
          `${name}: process ${owner} is writing it. Wait for its end; if there is none, remove ${path}.`,
        );
      }
      await rm(path, { force: true });
    }
  }
  held.add(path);
  trackTemporary(path);
  return async () => {
    if (!held.delete(path)) return;
    await rm(path, { force: true });
    releaseTemporary(path);
  };
}

function isAtWork(owner: number, path: string): boolean {
  if (owner === process.pid) return held.has(path);
  if (!Number.isSafeInteger(owner) || owner <= 0) return false;
  try {
    process.kill(owner, 0);
    return true;
  } catch (error) {
    // It is someone else's.
    return systemCode(error) === 'EPERM';
  }
}
