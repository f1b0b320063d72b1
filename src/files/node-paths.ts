import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';

/** A new name beside `path`, on the same file system, for output that is not complete. */
export const partialOf = (path: string): string => `${resolve(path)}.partial-${randomBytes(6).toString('hex')}`;

/** Where a folder's old content stays during the two renames that replace it. */
export const previousOf = (path: string): string => `${resolve(path)}.compressa-previous`;
