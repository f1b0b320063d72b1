import {
  copyFile,
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type CompressCommandOptions, runCompress } from '../../../src/cli/compress.ts';
import { runInspect } from '../../../src/cli/inspect.ts';
import { ArgumentError, FileError } from '../../../src/errors.ts';
import { sha256 } from '../../../src/passes/hash.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m', import.meta.url));
const running = { signal: new AbortController().signal };

let folder: string;
let said: string;
const at = (...parts: string[]): string => join(folder, ...parts);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-output-'));
  said = '';
  vi.spyOn(console, 'error').mockImplementation((text) => {
    said += `${text}\n`;
  });
  vi.spyOn(process.stdout, 'write').mockImplementation((_text, ...rest) => {
    for (const callback of rest) if (typeof callback === 'function') callback();
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

/** Opening the GPU would fail, so what is said in its place came before anything was opened for writing. */
const run = (model: string, out: string, options: Partial<CompressCommandOptions> = {}): Promise<void> =>
  runCompress(model, { out, adapter: 'no such adapter', ...options }, running);

/** A dry run of what is allowed. */
const plan = (model: string, out: string, options: Partial<CompressCommandOptions> = {}): Promise<void> =>
  runCompress(model, { out, overwrite: true, dryRun: true, ...options }, running);

/** Every file and what is in it. */
async function everything(): Promise<unknown> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(
    names
      .map((entry) => [join(entry.parentPath, entry.name), entry.isFile()] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(async ([path, isFile]) => [path, isFile && (await sha256(await readFile(path)))]),
  );
}

const WEIGHTS = 'model.safetensors';

describe('an original is never replaced', () => {
  beforeEach(() => cp(SAMPLE, at('model'), { recursive: true, filter: (path) => !path.endsWith('.txt') }));

  test.each<[string, string, string, (() => Promise<unknown>)?]>([
    ['a folder by itself', 'model', 'model'],
    ['a folder by itself, with a slash', 'model', 'model/'],
    ['a folder by way of another', 'model', 'model/../model'],
    ['a file by itself', `model/${WEIGHTS}`, `model/${WEIGHTS}`],
    ['the weights of a folder', 'model', `model/${WEIGHTS}`],
    ['a folder by one that holds it', 'model', ''],
    ['a file by the folder that holds it', `model/${WEIGHTS}`, 'model'],
    ['a folder by one in it', 'model', 'model/q4'],
    ['a folder behind a link', 'link', 'model', () => symlink(at('model'), at('link'))],
    ['a folder by a link to it', 'model', 'link', () => symlink(at('model'), at('link'))],
    ['a folder by way of a link', 'model', 'up/model', () => symlink(folder, at('up'))],
    [
      'a file behind a link',
      'a.safetensors',
      `model/${WEIGHTS}`,
      () => symlink(at('model', WEIGHTS), at('a.safetensors')),
    ],
    [
      'a file by a link to it',
      `model/${WEIGHTS}`,
      'a.safetensors',
      () => symlink(at('model', WEIGHTS), at('a.safetensors')),
    ],
    [
      'a file by a hard link',
      `model/${WEIGHTS}`,
      'a.safetensors',
      () => link(at('model', WEIGHTS), at('a.safetensors')),
    ],
    [
      'a file behind a hard link',
      'a.safetensors',
      `model/${WEIGHTS}`,
      () => link(at('model', WEIGHTS), at('a.safetensors')),
    ],
    [
      'the weights of a folder by a hard link',
      'model',
      'a.safetensors',
      () => link(at('model', WEIGHTS), at('a.safetensors')),
    ],
    ['weights that a folder links to', 'linked', 'model', () => linked(symlink)],
    ['a folder by one with links to its weights', 'model', 'linked', () => linked(link)],
    ['what an interrupted run left', 'model.compressa-previous', 'model', () => previous()],
    [
      'shards by a file that hides them',
      'model',
      `model/${WEIGHTS}`,
      () => rename(at('model', WEIGHTS), at('model', 'shard.safetensors')),
    ],
  ])('%s', async (_, model, out, prepare) => {
    await prepare?.();
    const before = await everything();
    for (const options of [{ overwrite: true }, { overwrite: true, resume: true }, { dryRun: true }]) {
      const refused = run(at(model), at(out), options);
      await expect(refused).rejects.toThrow(ArgumentError);
      await expect(refused).rejects.toThrow(/Choose (another output|an output elsewhere)\./);
    }
    expect(await everything()).toEqual(before);
  });

  async function linked(how: (from: string, to: string) => Promise<void>): Promise<void> {
    await mkdir(at('linked'));
    await copyFile(at('model', 'config.json'), at('linked', 'config.json'));
    await how(at('model', WEIGHTS), at('linked', WEIGHTS));
  }

  const previous = () => cp(at('model'), at('model.compressa-previous'), { recursive: true });

  test('other places are free', async () => {
    await plan(at('model'), at('model2'));
    await plan(at('model'), at('model', 'q4.gguf'));
    await writeFile(at('model', 'q4.gguf'), 'an earlier result');
    await plan(at('model'), at('model', 'q4.gguf'));
    await plan(at('model', WEIGHTS), at('model', 'q4.safetensors'));
    await cp(at('model'), at('copy'), { recursive: true });
    await plan(at('model'), at('copy'));
  });

  test('a model that is not there is said to be missing', async () => {
    await expect(run(at('none'), at('none'))).rejects.toThrow(/none: it does not exist/);
  });
});

describe('names that are no output', () => {
  test('an empty one is said to be empty', async () => {
    await expect(run(SAMPLE, '')).rejects.toThrow(ArgumentError);
    await expect(run(SAMPLE, '')).rejects.toThrow(/output \(-o\) is empty\. Name a folder/);
    await expect(run(SAMPLE, at('out'), { format: '' })).rejects.toThrow(/format is empty\. Name one, such as q4_0/);
    await expect(run(SAMPLE, at('out'), { recipe: '' })).rejects.toThrow(/--recipe\) is empty/);
    await expect(run('', at('out'))).rejects.toThrow(/model is empty/);
  });

  test.each(['ggml', 'bin', 'pt', 'onnx', 'GGML', 'safetensor'])('.%s is the ending of no folder', async (ending) => {
    const refused = run(SAMPLE, at(`out.${ending}`));
    await expect(refused).rejects.toThrow(ArgumentError);
    await expect(refused).rejects.toThrow(
      `.${ending} are not written. Name a folder, or a file that ends in .gguf or .safetensors`,
    );
  });

  test.each(['out-v1.5', 'out.d', 'bin', 'out.bin.q4'])('%s may be a folder', (name) => plan(SAMPLE, at(name)));
});

test('a recipe without rules is said to compress nothing', async () => {
  await writeFile(at('recipe.json'), '{"version": 1, "rules": []}');
  await plan(SAMPLE, at('out'), { recipe: at('recipe.json') });
  expect(said).toContain('note: No matrix was compressed.');
});

describe('a file that is no model', () => {
  test.each([
    [
      'README.md',
      '# A model\n\nIt was trained on speeches.',
      /README\.md: it is neither a safetensors nor a GGUF file/,
    ],
    ['a.safetensors', 'PK\u0003\u0004 and so on and on', /a\.safetensors: it is neither a safetensors nor a GGUF file/],
    ['short', 'text', /short: it is neither a safetensors nor a GGUF file.* 4 bytes are too few/],
    [
      'a.gguf',
      '# A model\n\nIt was trained on speeches.',
      /a\.gguf: it is no GGUF file, since it does not start with "GGUF"/,
    ],
    ['b.gguf', 'text', /b\.gguf: it is no GGUF file/],
    ['c.gguf', '\u0002\u0000\u0000\u0000\u0000\u0000\u0000\u0000  data', /c\.gguf: it is no GGUF file/],
    ['d.gguf', '\u0002\u0001\u0000\u0000\u0000\u0000\u0000\u0000  data', /d\.gguf: it is no GGUF file/],
  ])('%s', async (name, text, message) => {
    await writeFile(at(name), text);
    for (const command of [() => run(at(name), at('out.safetensors')), () => runInspect(at(name), {}, running)]) {
      const refused = command();
      await expect(refused).rejects.toThrow(FileError);
      await expect(refused).rejects.toThrow(message);
      if (name.endsWith('.gguf')) await expect(refused).rejects.not.toThrow(/safetensors/);
    }
  });
});
