import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { makeParent } from '../../../src/files/node-folders.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-folders-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the folder that is to hold a file', () => {
  test('is made with those that lead to it, and removed again with them', async () => {
    const undo = await makeParent(join(folder, 'a', 'b', 'c.bin'));
    expect(await readdir(join(folder, 'a'))).toEqual(['b']);
    await undo();
    await undo();
    expect(await readdir(folder)).toEqual([]);
  });

  test('stays where something is in it, or where it was there before', async () => {
    await mkdir(join(folder, 'a'));
    const undo = await makeParent(join(folder, 'a', 'b', 'c.bin'));
    await writeFile(join(folder, 'a', 'b', 'c.bin'), '');
    await undo();
    expect(await readdir(join(folder, 'a', 'b'))).toEqual(['c.bin']);
    await rm(join(folder, 'a', 'b'), { recursive: true });
    await (await makeParent(join(folder, 'a', 'c.bin')))();
    expect(await readdir(folder)).toEqual(['a']);
  });

  test.each([['file'], ['file', 'deeper']])('can not be under a file (%s)', async (...names) => {
    await writeFile(join(folder, 'file'), '');
    const made = makeParent(join(folder, ...names, 'c.bin'));
    await expect(made).rejects.toThrow(FileError);
    await expect(made).rejects.toThrow(/c\.bin: .*file is a file, not a folder\. Choose another target/);
    expect(await readdir(folder)).toEqual(['file']);
  });

  test('can not be under a link that leads nowhere', async () => {
    await symlink(join(folder, 'nowhere'), join(folder, 'link'));
    await expect(makeParent(join(folder, 'link', 'c.bin'))).rejects.toThrow(/link can't be made/);
  });

  test('is not left behind where one further down can not be made', async () => {
    const made = makeParent(join(folder, 'a', 'b'.repeat(300), 'c.bin'));
    await expect(made).rejects.toThrow(FileError);
    expect(await readdir(folder)).toEqual([]);
  });

  test.runIf(process.platform === 'linux')('is refused where the system takes no folders', async () => {
    const made = makeParent('/proc/compressa/deeper/c.bin');
    await expect(made).rejects.toThrow(FileError);
    await expect(made).rejects.toThrow(/Choose another target|Check the rights/);
  });
});
