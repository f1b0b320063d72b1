import { describe, expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { fileSystemSink } from '../../../src/files/file-system-sink.ts';
import { opfsFolder } from '../../../src/files/opfs-folder.ts';
import { entryNames } from '../../../src/files/opfs-journal.ts';
import { opfsOutput } from '../../../src/files/opfs-output.ts';
import type { OutputFolder } from '../../../src/files/sink.ts';
import { copyDisk, emptyDisk, fakeDirectory } from './fixtures/fake-file-system.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function fill(output: OutputFolder, files: Record<string, string>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const sink = await output.file(name);
    for (const letter of content) await sink.write(bytes(letter));
    await sink.commit();
  }
}

const NAMES = ['config.json', 'model.safetensors', 'tokenizer.json', 'vocab.txt'];

/** What `opfsFolder` shows. */
async function seen(directory: FileSystemDirectoryHandle): Promise<Record<string, string>> {
  const folder = opfsFolder(directory);
  const files: Record<string, string> = {};
  for (const name of NAMES) {
    if (!(await folder.has(name))) continue;
    const source = await folder.open(name);
    files[name] = new TextDecoder().decode(await source.read(0, source.size));
    await source.close();
  }
  return files;
}

const names = async (directory: FileSystemDirectoryHandle) => (await entryNames(directory)).sort();

describe('a file that the user chose', () => {
  const chosen = async (content: string, options = {}) => {
    const { directory } = fakeDirectory(emptyDisk(), options);
    const handle = await directory.getFileHandle('a.safetensors', { create: true });
    if (content) {
      const sink = await fileSystemSink(handle);
      await sink.write(bytes(content));
      await sink.commit();
    }
    return { handle, directory, text: async () => (await handle.getFile()).text() };
  };

  test('has the new content from its commit on', async () => {
    const { handle, text } = await chosen('old');
    const sink = await fileSystemSink(handle);
    expect(sink.name).toBe('a.safetensors');
    const piece = bytes('ne');
    await sink.write(piece);
    piece.fill(0);
    await sink.write(bytes('w'));
    expect(await text()).toBe('old');
    await sink.commit();
    expect(await text()).toBe('new');
    await sink.abort();
    expect(await text()).toBe('new');
    await expect(sink.write(piece)).rejects.toThrow(/a\.safetensors: written to after/);
    await expect(sink.commit()).rejects.toThrow(FileError);
  });

  test('keeps the old content where it is given up', async () => {
    const { handle, text } = await chosen('old');
    const sink = await fileSystemSink(handle);
    await sink.write(bytes('new'));
    await sink.abort();
    await sink.abort();
    expect(await text()).toBe('old');
    await expect(sink.commit()).rejects.toThrow(FileError);
  });

  test('a full storage is named, and changes nothing', async () => {
    const { handle, text } = await chosen('old', { quota: 10 });
    const sink = await fileSystemSink(handle, 'folder/a');
    await sink.write(bytes('12345'));
    const failure = sink.write(bytes('678'));
    await expect(failure).rejects.toThrow(FileError);
    await expect(failure).rejects.toThrow(/folder\/a: the browser's storage is full/);
    await sink.abort();
    expect(await text()).toBe('old');
  });

  test('that is gone is named', async () => {
    const { handle, directory } = await chosen('old');
    await directory.removeEntry('a.safetensors');
    await expect(fileSystemSink(handle)).rejects.toThrow(/a\.safetensors: it does not exist/);
  });
});

describe.each([true, false])('a folder of a browser (files can be moved: %s)', (move) => {
  const OLD = { 'model.safetensors': 'old weights', 'tokenizer.json': 'old', 'vocab.txt': 'old' };
  const NEW = { 'config.json': 'new', 'model.safetensors': 'new weights', 'tokenizer.json': 'new' };
  const withOld = async () => {
    const disk = emptyDisk();
    const output = await opfsOutput(fakeDirectory(disk, { move }).directory);
    await fill(output, OLD);
    await output.commit();
    return disk;
  };

  test('shows its files together, at commit', async () => {
    const { directory } = fakeDirectory(emptyDisk(), { move });
    const output = await opfsOutput(directory);
    await fill(output, NEW);
    expect(await seen(directory)).toEqual({});
    await output.commit();
    expect(await seen(directory)).toEqual(NEW);
    expect(await names(directory)).toEqual(Object.keys(NEW).sort());
    await output.abort();
    expect(await seen(directory)).toEqual(NEW);
    await expect(output.file('more.json')).rejects.toThrow(/complete or given up/);
  });

  test('is replaced whole where asked, and only then', async () => {
    const disk = await withOld();
    const { directory } = fakeDirectory(disk, { move });
    await expect(opfsOutput(directory)).rejects.toThrow(/models: the folder holds files already/);
    const output = await opfsOutput(directory, { overwrite: true });
    await fill(output, NEW);
    expect(await seen(directory)).toEqual(OLD);
    await output.commit();
    expect(await names(directory)).toEqual(Object.keys(NEW).sort());
    expect(await seen(directory)).toEqual(NEW);
  });

  test('keeps what it held where the output is given up, or one file of it', async () => {
    const disk = await withOld();
    const { directory } = fakeDirectory(disk, { move });
    const output = await opfsOutput(directory, { overwrite: true });
    const bad = await output.file('config.json');
    await bad.write(bytes('x'));
    await expect(output.commit()).rejects.toThrow(/"config\.json" not complete/);
    await bad.abort();
    await fill(output, { 'config.json': 'again' });
    await output.abort();
    expect(await seen(directory)).toEqual(OLD);
    expect(await names(directory)).toEqual(Object.keys(OLD).sort());
  });

  test.each([
    ['a foreign file', (d: FileSystemDirectoryHandle) => d.getFileHandle('thesis.odt', { create: true })],
    ['a subfolder', (d: FileSystemDirectoryHandle) => d.getDirectoryHandle('a.safetensors', { create: true })],
  ])('with %s is never replaced, even when it comes late', async (_, spoil) => {
    const disk = await withOld();
    const { directory } = fakeDirectory(disk, { move });
    const output = await opfsOutput(directory, { overwrite: true });
    await fill(output, NEW);
    await spoil(directory);
    await expect(opfsOutput(directory, { overwrite: true })).rejects.toThrow(/no part of a model/);
    await expect(output.commit()).rejects.toThrow(/no part of a model/);
    expect(await seen(directory)).toEqual(OLD);
  });

  test('without weights is no model', async () => {
    const { directory } = fakeDirectory(emptyDisk(), { move });
    await directory.getFileHandle('notes.txt', { create: true });
    await expect(opfsOutput(directory, { overwrite: true })).rejects.toThrow(/holds no model/);
  });

  test('refuses names that leave it', async () => {
    const { directory } = fakeDirectory(emptyDisk(), { move });
    const output = await opfsOutput(directory);
    for (const name of ['../evil', 'a/b', '..', '', 'c:x']) {
      await expect(output.file(name)).rejects.toThrow(/not the plain name/);
      await expect(opfsFolder(directory).open(name)).rejects.toThrow(/not the plain name/);
    }
    await expect(opfsFolder(directory).open('none.json')).rejects.toThrow(/models: there is no file "none\.json"/);
  });

  test('a full storage is named, and leaves what was there', async () => {
    const disk = await withOld();
    const { directory } = fakeDirectory(disk, { move, quota: 30 });
    const output = await opfsOutput(directory, { overwrite: true });
    await expect(fill(output, NEW)).rejects.toThrow(/models\/model\.safetensors: the browser's storage is full/);
    await output.abort();
    expect(await seen(directory)).toEqual(OLD);
    expect(await names(directory)).toEqual(Object.keys(OLD).sort());
  });

  test('of two outputs the later one holds', async () => {
    const disk = await withOld();
    const first = await opfsOutput(fakeDirectory(disk, { move }).directory, { overwrite: true });
    await fill(first, { 'model.safetensors': 'first' });
    const { directory } = fakeDirectory(disk, { move });
    const second = await opfsOutput(directory, { overwrite: true });
    await expect(first.commit()).rejects.toThrow(FileError);
    await first.abort();
    await fill(second, NEW);
    await second.commit();
    expect(await seen(directory)).toEqual(NEW);
  });

  test('shows the old files or the new ones, wherever the page is closed, and the next output goes on from there', async () => {
    const before = await withOld();
    const replace = async (directory: FileSystemDirectoryHandle) => {
      const output = await opfsOutput(directory, { overwrite: true });
      await fill(output, NEW);
      await output.commit();
    };
    const whole = fakeDirectory(copyDisk(before), { move });
    await replace(whole.directory);
    const outcomes: string[] = [];
    for (let changes = 0; changes < whole.changes(); changes++) {
      const disk = copyDisk(before);
      await expect(replace(fakeDirectory(disk, { move, changes }).directory), `change ${changes}`).rejects.toThrow();
      const { directory } = fakeDirectory(disk, { move });
      const files = await seen(directory);
      expect([OLD, NEW], `change ${changes}`).toContainEqual(files);
      outcomes.push(files['model.safetensors'] === NEW['model.safetensors'] ? 'new' : 'old');
      await (await opfsOutput(directory, { overwrite: true })).abort();
      expect(await seen(directory), `change ${changes}`).toEqual(files);
      expect(await names(directory)).toEqual(Object.keys(files).sort());
    }
    // Both happen, and once the new files are seen they stay.
    expect(outcomes.join(' ')).toMatch(/^(old )+(new ?)+$/);
  });
});
