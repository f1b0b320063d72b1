import { expect } from 'vitest';
import { FileError } from '../../src/errors.ts';

/** Most milliseconds until a file is refused. */
const SOON = 1000;

/** Ways to say what to do. */
const ADVICE = /[.;] (or )?(Choose|Compress|Convert|Download|Export|Keep|Name|Read|Remove|Rename|Split|Update|Use) /i;

/**
 * Expects `open` to fail soon with the error for files, whose message begins with `file`, says what `message` says, and then what to do.
 */
export async function expectRefusal(open: () => Promise<unknown>, file: string, message: RegExp): Promise<void> {
  const started = performance.now();
  const error = await open().then(
    () => undefined,
    (failure: unknown) => failure,
  );
  const took = performance.now() - started;
  expect(error).toBeInstanceOf(FileError);
  const { code, message: text } = error as FileError;
  expect(code).toBe('FILE');
  expect(text).toMatch(message);
  expect(text.slice(0, file.length)).toBe(file);
  expect(text).toMatch(ADVICE);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(took).toBeLessThan(SOON);
}
