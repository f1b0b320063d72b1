import { mkdir, open, rmdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';

/**
 * Makes the folder that is to hold `path`, step by step: Node's own recursive `mkdir` never returns where a file system takes no
 * folders (`/proc`).
 * @returns what removes the folders made here, unless something is in them
 * @throws FileError where the folder can't be made; then none is left
 */
export async function makeParent(path: string): Promise<() => Promise<void>> {
  const made: string[] = [];
  const undo = async (): Promise<void> => {
    for (const folder of made.splice(0).reverse()) await rmdir(folder).catch(() => undefined);
  };
  try {
    const missing: string[] = [];
    let nearest = dirname(resolve(path));
    while (!(await isFolder(nearest, path))) {
      missing.push(nearest);
      nearest = dirname(nearest);
    }
    for (const folder of missing.reverse()) if (await makeFolder(folder, path)) made.push(folder);
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}

/** False where there is nothing. @throws FileError where there is something else; `path` is what messages call it */
async function isFolder(folder: string, path: string): Promise<boolean> {
  try {
    if ((await stat(folder)).isDirectory()) return true;
  } catch (error) {
    // A file on the way to it is found further up.
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return false;
    throw fileSystemError(path, error);
  }
  throw new FileError(`${path}: ${folder} is a file, not a folder. Choose another target.`);
}

/** False where someone else made it meanwhile. */
async function makeFolder(folder: string, path: string): Promise<boolean> {
  try {
    await mkdir(folder);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST' && (await isFolder(folder, path))) return false;
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EEXIST') {
      throw new FileError(`${path}: the folder ${folder} can't be made. Choose another target.`, { cause: error });
    }
    throw fileSystemError(path, error);
  }
}

/** Makes renames in a folder durable, where the system can (Windows can't open folders). */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
