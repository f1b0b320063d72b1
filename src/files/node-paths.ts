import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';

/** A new name beside `path`, on the same file system, for output that is not complete. */
export const partialOf = (path: string): string => `${resolve(path)}.partial-${randomBytes(6).toString('hex')}`;

/** Where a folder's old content stays during the two renames that replace it. */
export const previousOf = (path: string): string => `${resolve(path)}.compressa-previous`;

/** Where output that is not complete stays between runs that go on with each other. */
export const resumablePartialOf = (path: string): string => `${resolve(path)}.compressa-partial`;

/** What is known of it. */
export const journalOf = (path: string): string => `${resolve(path)}.compressa-journal`;

/** Says which process is at work on it. */
export const lockOf = (path: string): string => `${resolve(path)}.compressa-lock`;
