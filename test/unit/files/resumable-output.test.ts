import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { nodeOutput } from '../../../src/files/node-output.ts';
import { nodeFileSink } from '../../../src/files/node-sink.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-resumable-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (path: string): Promise<string> => readFile(join(folder, path), 'utf8');
const names = async () => (await readdir(folder)).sort();
const openFile = (options = {}) => nodeFileSink(join(folder, 'a.bin'), { resume: true, ...options });
const openFolder = (options = {}) => nodeOutput(join(folder, 'model'), { resume: true, ...options });

describe('a file', () => {
  /** Leaves "one two" with a journal of two lines. */
  async function leave() {
    const sink = await openFile();
    const { journal, reopen } = sink.resumable!;
    expect(journal.lines).toEqual([]);
    await journal.append('job');
    const file = await reopen('');
    expect(file.size).toBe(0);
    await file.write(bytes('one '));
    await file.write(bytes('two'));
    await file.flush();
    await journal.append('done');
    await sink.abort();
  }

  test('is kept by abort, and the next one goes on behind what is good', async () => {
    await leave();
    expect(await names()).toEqual(['a.bin.compressa-journal', 'a.bin.compressa-partial']);
    const sink = await openFile();
    const { journal, reopen } = sink.resumable!;
    expect(journal.lines).toEqual(['job', 'done']);
    const file = await reopen('');
    expect(file.size).toBe(7);
    expect(new TextDecoder().decode(await file.read(4, 3))).toBe('two');
    await expect(file.read(4, 9)).rejects.toThrow(FileError);
    await file.truncate(4);
    await journal.keep(1);
    await journal.append('again');
    expect(await text('a.bin.compressa-journal')).toBe('job\nagain\n');
    await file.write(bytes('three'));
    await sink.commit();
    expect(await names()).toEqual(['a.bin']);
    expect(await text('a.bin')).toBe('one three');
    await sink.abort();
    expect(await names()).toEqual(['a.bin']);
  });

  test('of which nothing is finished is not kept', async () => {
    const sink = await openFile();
    await sink.resumable!.journal.append('job');
    await (await sink.resumable!.reopen('')).write(bytes('half'));
    await sink.abort();
    await sink.abort();
    expect(await names()).toEqual([]);
    await expect(sink.write(bytes('x'))).rejects.toThrow(FileError);
  });

  test('is written by one run at a time; a lock of a dead one is taken over', async () => {
    const sink = await openFile();
    await expect(openFile()).rejects.toThrow(new RegExp(`process ${process.pid} is writing it`));
    await sink.abort();
    // No process has this number.
    await writeFile(join(folder, 'a.bin.compressa-lock'), '4194999\n');
    await (await openFile()).abort();
    expect(await names()).toEqual([]);
  });

  test('the target is refused, or kept, as without', async () => {
    await leave();
    await writeFile(join(folder, 'a.bin'), 'theirs');
    await expect(openFile()).rejects.toThrow(/it exists/);
    const sink = await openFile({ overwrite: true });
    expect(sink.resumable!.journal.lines).toHaveLength(2);
    await sink.abort();
    expect(await text('a.bin')).toBe('theirs');
  });

  test('a journal without its file is of a run that had ended, and is cleared', async () => {
    await leave();
    await rm(join(folder, 'a.bin.compressa-partial'));
    const sink = await openFile();
    expect(sink.resumable!.journal.lines).toEqual([]);
    await sink.abort();
    expect(await names()).toEqual([]);
  });

  test('so is one of a run that was killed when all was in place', async () => {
    await leave();
    await rename(join(folder, 'a.bin.compressa-partial'), join(folder, 'a.bin'));
    await expect(openFile()).rejects.toThrow(/it exists/);
    expect(await names()).toEqual(['a.bin']);
  });

  test.skipIf(process.platform === 'win32')('no link is followed', async () => {
    await writeFile(join(folder, 'mine'), 'mine');
    await symlink(join(folder, 'mine'), join(folder, 'a.bin.compressa-partial'));
    const sink = await openFile();
    await expect(sink.resumable!.reopen('')).rejects.toThrow(FileError);
    await sink.abort();
    expect(await text('mine')).toBe('mine');
  });
});

describe('a folder', () => {
  async function leave() {
    const output = await openFolder();
    const { journal, reopen } = output.resumable!;
    await journal.append('job');
    const file = await reopen('model.safetensors');
    await file.write(bytes('one '));
    await journal.append('done');
    const config = await output.file('config.json');
    await config.write(bytes('old'));
    await config.commit();
    await output.abort();
  }

  test('is kept by abort, and the next one goes on', async () => {
    await leave();
    expect(await names()).toEqual(['model.compressa-journal', 'model.compressa-partial']);
    const output = await openFolder();
    const { journal, reopen } = output.resumable!;
    expect(journal.lines).toEqual(['job', 'done']);
    const file = await reopen('model.safetensors');
    await expect(reopen('model.safetensors')).rejects.toThrow(/written twice/);
    await file.write(bytes('two'));
    // What has no account in the journal is written anew.
    const config = await output.file('config.json');
    await config.write(bytes('{}'));
    await config.commit();
    await expect(output.commit()).rejects.toThrow(/"model\.safetensors" not complete/);
    await file.commit();
    await output.commit();
    expect(await names()).toEqual(['model']);
    expect(await text('model/model.safetensors')).toBe('one two');
    expect(await text('model/config.json')).toBe('{}');
  });

  test('without a journal is begun anew', async () => {
    await leave();
    await rm(join(folder, 'model.compressa-journal'));
    const output = await openFolder();
    expect((await output.resumable!.reopen('model.safetensors')).size).toBe(0);
    await output.abort();
    expect(await names()).toEqual([]);
  });

  test('replaces a model where that is allowed, and stays where it is not', async () => {
    await leave();
    await mkdir(join(folder, 'model'));
    await writeFile(join(folder, 'model/model.safetensors'), 'old');
    await expect(openFolder()).rejects.toThrow(/it exists/);
    const output = await openFolder({ overwrite: true });
    await (await output.resumable!.reopen('model.safetensors')).commit();
    await writeFile(join(folder, 'model/thesis.txt'), 'mine');
    await expect(output.commit()).rejects.toThrow(/no part of a model/);
    expect(await names()).toEqual(['model', 'model.compressa-journal', 'model.compressa-partial']);
    await rm(join(folder, 'model/thesis.txt'));
    const again = await openFolder({ overwrite: true });
    await (await again.resumable!.reopen('model.safetensors')).commit();
    await again.commit();
    expect(await names()).toEqual(['model']);
    expect(await text('model/model.safetensors')).toBe('one ');
  });
});
