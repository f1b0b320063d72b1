import { afterEach, expect, test, vi } from 'vitest';
import { print, write } from '../../../src/cli/output.ts';
import { FileError } from '../../../src/errors.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const failure = (code: string) => Object.assign(new Error(`${code}: failed, write`), { code });

/** Standard output fails as pipes do, in the callback, or as files do in some versions of Node. */
function failing(code: string, how: 'callback' | 'throw'): void {
  vi.spyOn(process.stdout, 'write').mockImplementation((_text, ...rest) => {
    if (how === 'throw') throw failure(code);
    for (const callback of rest) if (typeof callback === 'function') callback(failure(code));
    return false;
  });
}

test.each(['callback', 'throw'] as const)('a full disk under standard output is a FileError (%s)', async (how) => {
  failing('ENOSPC', how);
  await expect(print('text')).rejects.toThrow(FileError);
  await expect(print('text')).rejects.toThrow(/standard output: the disk is full/);
});

test.each(['callback', 'throw'] as const)('a closed pipe is no error (%s)', async (how) => {
  failing('EPIPE', how);
  expect(await write('text')).toBe(false);
  await expect(print('text')).resolves.toBeUndefined();
});
