import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { nodeOutput } from '../../../src/files/node-output.ts';
import { nodeFileSink } from '../../../src/files/node-sink.ts';
import { memoryOutput, memorySink, type OutputFolder } from '../../../src/files/sink.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-output-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (path: string): Promise<string> => readFile(join(folder, path), 'utf8');

async function fill(output: OutputFolder, files: Record<string, string>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const file = await output.file(name);
    await file.write(bytes(content));
    await file.commit();
  }
}

describe('a file on disk', () => {
  test('appears at commit, whole, and leaves nothing else', async () => {
    const sink = await nodeFileSink(join(folder, 'a.bin'));
    await sink.write(bytes('one '));
    await sink.write(bytes('two'));
    expect((await readdir(folder)).filter((name) => name === 'a.bin')).toEqual([]);
    await sink.commit();
    expect(await readdir(folder)).toEqual(['a.bin']);
    expect(await text('a.bin')).toBe('one two');
  });

  test('abort leaves nothing, twice too, and closes the sink', async () => {
    const sink = await nodeFileSink(join(folder, 'a.bin'));
    await sink.write(bytes('one'));
    await sink.abort();
    await sink.abort();
    expect(await readdir(folder)).toEqual([]);
    await expect(sink.write(bytes('x'))).rejects.toThrow(FileError);
    await expect(sink.commit()).rejects.toThrow(FileError);
  });

  test('abort after commit keeps the file', async () => {
    const sink = await nodeFileSink(join(folder, 'a.bin'));
    await sink.commit();
    await sink.abort();
    expect(await readdir(folder)).toEqual(['a.bin']);
  });

  test('an existing target is refused, and replaced only where that was asked for', async () => {
    await writeFile(join(folder, 'a.bin'), 'old');
    await expect(nodeFileSink(join(folder, 'a.bin'))).rejects.toThrow(/a\.bin: it exists.*overwriting/);
    const sink = await nodeFileSink(join(folder, 'a.bin'), { overwrite: true });
    await sink.write(bytes('new'));
    expect(await text('a.bin')).toBe('old');
    await sink.commit();
    expect(await text('a.bin')).toBe('new');
    expect(await readdir(folder)).toEqual(['a.bin']);
  });

  test('a target that appears during the work is kept', async () => {
    const sink = await nodeFileSink(join(folder, 'a.bin'));
    await writeFile(join(folder, 'a.bin'), 'theirs');
    await expect(sink.commit()).rejects.toThrow(FileError);
    expect(await text('a.bin')).toBe('theirs');
    expect(await readdir(folder)).toEqual(['a.bin']);
  });

  test('a folder as target, or a missing parent, is an error of its own', async () => {
    await mkdir(join(folder, 'sub'));
    await expect(nodeFileSink(join(folder, 'sub'), { overwrite: true })).rejects.toThrow(/not a regular file/);
    await expect(nodeFileSink(join(folder, 'none', 'a.bin'))).rejects.toThrow(/a\.bin: it does not exist/);
  });

  test.runIf(process.platform === 'linux')('a full disk is named', async () => {
    // /dev/full takes no temporary beside it, so the write itself is what the adapter's error table has to name.
    const { fileSystemError } = await import('../../../src/files/node-error.ts');
    const cause = await writeFile('/dev/full', 'x').catch((error: unknown) => error);
    expect(fileSystemError('out.bin', cause).message).toMatch(/^out\.bin: the disk is full/);
  });
});

describe('a folder on disk', () => {
  const target = (): string => join(folder, 'model');

  test('appears at commit with all its files', async () => {
    const output = await nodeOutput(target());
    await fill(output, { 'config.json': '{}', 'model.safetensors': 'weights' });
    expect(await readdir(folder)).not.toContain('model');
    await output.commit();
    expect(await readdir(folder)).toEqual(['model']);
    expect((await readdir(target())).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(await text('model/model.safetensors')).toBe('weights');
  });

  test('abort leaves nothing, with open files too', async () => {
    const output = await nodeOutput(target());
    await fill(output, { 'config.json': '{}' });
    await (await output.file('model.safetensors')).write(bytes('half'));
    await output.abort();
    await output.abort();
    expect(await readdir(folder)).toEqual([]);
    await expect(output.file('x.json')).rejects.toThrow(FileError);
  });

  test('a file that was not completed stops the commit and names itself', async () => {
    const output = await nodeOutput(target());
    await (await output.file('model.safetensors')).write(bytes('half'));
    await expect(output.commit()).rejects.toThrow(/"model\.safetensors" not complete/);
    await output.abort();
    expect(await readdir(folder)).toEqual([]);
  });

  test('an aborted file is not part of the model and its name is free again', async () => {
    const output = await nodeOutput(target());
    const file = await output.file('model.safetensors');
    await file.write(bytes('bad'));
    await file.abort();
    await fill(output, { 'model.safetensors': 'good' });
    await expect(output.file('model.safetensors')).rejects.toThrow(/written twice/);
    await output.commit();
    expect(await text('model/model.safetensors')).toBe('good');
  });

  test.each(['../evil', 'a/b', 'a\\b', '..', '.', '', 'c:x', 'nul\0', 'dot.'])(
    'the file name %j is refused',
    async (name) => {
      const output = await nodeOutput(target());
      await expect(output.file(name)).rejects.toThrow(/not the plain name/);
      await output.abort();
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test('an existing model is refused up front, and replaced whole where asked', async () => {
    await mkdir(target());
    await writeFile(join(target(), 'model.safetensors'), 'old');
    await writeFile(join(target(), 'tokenizer.json'), 'old');
    await expect(nodeOutput(target())).rejects.toThrow(/model: it exists/);
    const output = await nodeOutput(target(), { overwrite: true });
    await fill(output, { 'model.safetensors': 'new' });
    expect(await text('model/model.safetensors')).toBe('old');
    await output.commit();
    expect(await readdir(folder)).toEqual(['model']);
    expect(await readdir(target())).toEqual(['model.safetensors']);
    expect(await text('model/model.safetensors')).toBe('new');
  });

  test('a failure before commit keeps the old model', async () => {
    await mkdir(target());
    await writeFile(join(target(), 'model.safetensors'), 'old');
    const output = await nodeOutput(target(), { overwrite: true });
    await fill(output, { 'model.safetensors': 'new' });
    await output.abort();
    expect(await readdir(folder)).toEqual(['model']);
    expect(await text('model/model.safetensors')).toBe('old');
  });

  test.each([
    ['a foreign file', async (at: string) => writeFile(join(at, 'thesis.txt'), 'mine')],
    ['a subfolder', async (at: string) => mkdir(join(at, 'src.safetensors'))],
    ['a link', async (at: string) => symlink('/etc', join(at, 'config.json'))],
  ])('a folder with %s is never replaced, even when it comes late', async (_, spoil) => {
    await mkdir(target());
    await writeFile(join(target(), 'model.safetensors'), 'old');
    const output = await nodeOutput(target(), { overwrite: true });
    await fill(output, { 'model.safetensors': 'new' });
    await spoil(target());
    await expect(nodeOutput(target(), { overwrite: true })).rejects.toThrow(/no part of a model/);
    await expect(output.commit()).rejects.toThrow(/no part of a model/);
    expect(await readdir(folder)).toEqual(['model']);
    expect(await text('model/model.safetensors')).toBe('old');
  });

  test('a folder of known names without weights, or a file, is no model', async () => {
    await mkdir(target());
    await writeFile(join(target(), 'README.md'), 'mine');
    await expect(nodeOutput(target(), { overwrite: true })).rejects.toThrow(/holds no model/);
    await writeFile(join(folder, 'file'), 'mine');
    await expect(nodeOutput(join(folder, 'file'), { overwrite: true })).rejects.toThrow(/not a folder/);
    expect(await text('model/README.md')).toBe('mine');
  });

  test('what a run that was killed between its two renames left is found again', async () => {
    await mkdir(target());
    await writeFile(join(target(), 'model.safetensors'), 'old');
    await rename(target(), `${target()}.compressa-previous`);
    await expect(nodeFolder(target())).rejects.toThrow(/compressa-previous; rename it back/);
    // The next run takes it back before it looks whether it may overwrite.
    await expect(nodeOutput(target())).rejects.toThrow(/it exists/);
    expect(await text('model/model.safetensors')).toBe('old');
    expect(await readdir(folder)).toEqual(['model']);
  });

  test('what a run that was killed after its two renames left is cleared', async () => {
    for (const name of ['model', 'model.compressa-previous']) {
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, 'model.safetensors'), name);
    }
    const output = await nodeOutput(target(), { overwrite: true });
    await output.abort();
    expect(await readdir(folder)).toEqual(['model']);
    expect(await text('model/model.safetensors')).toBe('model');
  });
});

describe('a killed process', () => {
  const start = async (mode: string, target: string): Promise<ChildProcess> => {
    const script = join(import.meta.dirname, 'fixtures/writer.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', script, mode, target], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout!, 'data');
    return child;
  };
  const end = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    const [, by] = await once(child, 'exit');
    expect(by).toBe(signal);
  };

  test('SIGKILL leaves no half file or folder under the target', async () => {
    await writeFile(join(folder, 'a.bin'), 'old');
    await end(await start('file', join(folder, 'a.bin')), 'SIGKILL');
    await end(await start('folder', join(folder, 'model')), 'SIGKILL');
    expect(await text('a.bin')).toBe('old');
    expect(await readdir(folder)).not.toContain('model');
  });

  test.skipIf(process.platform === 'win32').each(['SIGINT', 'SIGTERM'] as const)(
    '%s removes the temporary',
    async (signal) => {
      await end(await start('file', join(folder, 'a.bin')), signal);
      await end(await start('folder', join(folder, 'model')), signal);
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test('SIGKILL while it replaces a model again and again leaves one whole model', async () => {
    const target = join(folder, 'model');
    for (const delay of [31, 74, 123]) {
      const child = await start('replace', target);
      await new Promise((resolve) => setTimeout(resolve, delay));
      await end(child, 'SIGKILL');
      const names = await readdir(folder);
      const model = names.includes('model') ? target : `${target}.compressa-previous`;
      const config = await readFile(join(model, 'config.json'));
      const weights = await readFile(join(model, 'model.safetensors'));
      expect(weights.byteLength).toBe(200_000);
      expect(new Set(weights)).toEqual(new Set([weights[0]]));
      expect(config.equals(weights)).toBe(true);
    }
  });
});

describe('output in memory', () => {
  test('a sink copies what it is given and shows it after commit only', async () => {
    const sink = memorySink('m');
    const piece = bytes('abc');
    await sink.write(piece);
    piece.fill(0);
    expect(() => sink.bytes()).toThrow(FileError);
    await sink.commit();
    expect(sink.bytes()).toEqual(bytes('abc'));
    await expect(sink.write(piece)).rejects.toThrow(FileError);
  });

  test('a folder shows its files after commit only, and reads again', async () => {
    const output = memoryOutput('m');
    await fill(output, { 'config.json': '{}', 'model.safetensors': 'weights' });
    expect(output.files.size).toBe(0);
    await output.commit();
    const files = memoryFolder('m', Object.fromEntries(output.files));
    const source = await files.open('model.safetensors');
    expect(await source.read(0, source.size)).toEqual(bytes('weights'));
    expect(await files.has('tokenizer.json')).toBe(false);
  });

  test('an aborted folder stays empty', async () => {
    const output = memoryOutput('m');
    await fill(output, { 'config.json': '{}' });
    await output.abort();
    expect(output.files.size).toBe(0);
    await expect(output.commit()).rejects.toThrow(FileError);
  });
});
