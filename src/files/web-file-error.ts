import { FileError } from '../errors.ts';
import { reason } from './text.ts';

/** What the failures of a browser's file system (https://fs.spec.whatwg.org) mean to a user. */
const MEANINGS: Readonly<Record<string, string>> = {
  NotFoundError: 'it does not exist, or was removed meanwhile. Check the name.',
  NotAllowedError: 'the page may not write there. Ask the user for the permission, within a click.',
  NoModificationAllowedError: 'it is being written elsewhere, in another tab perhaps. Close that first.',
  TypeMismatchError: 'a folder is there where a file should be, or the other way round. Choose another name.',
  QuotaExceededError: "the browser's storage is full. Free some of it, or choose another target.",
  NotReadableError: 'the browser could not read it; it may have changed since it was opened.',
};

/** The name of a browser's error, such as `NotFoundError`. */
export const webErrorName = (error: unknown): string | undefined =>
  error instanceof Error || error instanceof DOMException ? error.name : undefined;

/** Any failure of a browser's file system as a FileError that says what to do. */
export function webFileError(path: string, error: unknown): FileError {
  if (error instanceof FileError) return error;
  return new FileError(`${path}: ${MEANINGS[webErrorName(error) ?? ''] ?? `${reason(error)}.`}`, { cause: error });
}
