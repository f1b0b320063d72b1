import { constants, type FileHandle, open } from 'node:fs/promises';
import { FileError } from '../errors.ts';
import { fileSystemError } from './node-error.ts';

/** Windows has no such flag. */
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;

/**
 * Opens a file of ours that an earlier run may have left, to read and write; makes it where it is missing.
 * @param name what messages call it
 * @throws FileError where something else, a link for example, has taken its place
 */
export async function openOwn(path: string, name: string): Promise<FileHandle> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDWR | constants.O_CREAT | NO_FOLLOW, 0o666);
    if ((await handle.stat()).isFile()) return handle;
    throw new FileError(`${path}: it is not a regular file. Remove it, or choose another name.`);
  } catch (error) {
    await handle?.close();
    throw fileSystemError(name, error);
  }
}
