import { FileError } from '../errors.ts';
import { quote } from './text.ts';

/** Longest name of a file in a model folder: what every common file system takes (255 bytes). */
export const MAX_FILE_NAME_LENGTH = 255;

/**
 * Refuses a name that could leave its folder or that some file system reads otherwise (CWE-22): separators, drive
 * letters, `.` and `..`, control characters, trailing dots and spaces.
 */
export function checkFileName(name: string, folder: string): void {
  const bad =
    name.length === 0 ||
    name.length > MAX_FILE_NAME_LENGTH ||
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
    /[/\\:*?"<>|\u0000-\u001f\u007f]/.test(name) ||
    /^\.{1,2}$/.test(name) ||
    /[. ]$/.test(name);
  if (bad) {
    throw new FileError(
      `${folder}: ${quote(name)} is not the plain name of a file inside this folder. Use a name without separators.`,
    );
  }
}
