import { FileError } from '../errors.ts';
import { reason } from './text.ts';

/** What the common failures of a file system mean to a user. */
const MEANINGS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist. Check the path.',
  EACCES: 'permission denied. Check the rights of the file and its folder.',
  EPERM: 'the operation is not permitted. Check the rights of the file and its folder.',
  ENOSPC: 'the disk is full. Free some space or choose another target.',
  EDQUOT: 'the disk quota is used up. Free some space or choose another target.',
  EROFS: 'the file system is read-only. Choose another target.',
  EISDIR: 'it is a folder, not a file. Name a file.',
  ENOTDIR: 'a part of the path is a file, not a folder. Check the path.',
  EMFILE: 'too many files are open. Close some or raise the limit.',
};

/** The system's code of an error, such as `ENOENT`. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** Any failure of the file system as a FileError that says what to do. */
export function fileSystemError(path: string, error: unknown): FileError {
  if (error instanceof FileError) return error;
  return new FileError(`${path}: ${MEANINGS[systemCode(error) ?? ''] ?? `${reason(error)}.`}`, { cause: error });
}
