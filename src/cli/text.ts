import { readFile } from 'node:fs/promises';
import { ArgumentError, FileError } from '../errors.ts';
import { fileSystemError } from '../files/node-error.ts';

/** @throws FileError where the file can't be read, or holds something else than text in UTF-8: what it says would mean nothing */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: unknown) => Promise.reject(fileSystemError(path, error)));
  const refuse = (why: string, cause?: unknown) =>
    new FileError(`${path}: ${why}. Name a text file, or convert it (iconv -f UTF-16 -t UTF-8).`, { cause });
  // UTF-16 of plain letters is valid UTF-8 too, with a zero after each.
  if (bytes.includes(0)) throw refuse('it holds zero bytes, so it is not text in UTF-8');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw refuse('it is not valid UTF-8', error);
  }
}

/** The whole number that an option says. @throws ArgumentError */
export function wholeNumber(option: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new ArgumentError(`${option} takes a whole number from ${least} on, not "${text}".`);
  return value;
}
