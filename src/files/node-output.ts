import { lstat, mkdir, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { syncFolder } from './node-folders.ts';
import { openKept } from './node-kept.ts';
import { partialOf, previousOf } from './node-paths.ts';
import { openResumable } from './node-resumable.ts';
import { createFile } from './node-sink.ts';
import { releaseTemporary, trackTemporary } from './node-temporaries.ts';
import { type Journal, type OutputFolder, type OutputOptions, sinkRegister } from './sink.ts';
import { quote } from './text.ts';

/** Files that a model folder of ours or of Hugging Face may hold; a folder with anything else is never replaced. */
const MODEL_FILE_NAMES: ReadonlySet<string> = new Set([
  '.gitattributes',
  'LICENSE',
  'LICENSE.md',
  'LICENSE.txt',
  'NOTICE',
  'README.md',
  'adapter_config.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'compressa.json',
  'config.json',
  'generation_config.json',
  'merges.txt',
  'model.safetensors.index.json',
  'preprocessor_config.json',
  'processor_config.json',
  'recipe.json',
  'report.json',
  'special_tokens_map.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'vocab.json',
  'vocab.txt',
]);
const SAFETENSORS = /^[^/\\]+\.safetensors$/;

/**
 * A model folder on disk: written to a temporary folder beside `path` and renamed into place by `commit`. A killed
 * process never leaves half a model under `path`: replacing takes two renames, and one that is killed between them
 * leaves the old folder complete under `<path>.compressa-previous`, from where the next run takes it back.
 * @throws FileError where `path` exists and `overwrite` is off, or holds files that no model folder has; with `resume` also
 * where another run is at work on it.
 */
export async function nodeOutput(path: string, options: OutputOptions = {}): Promise<OutputFolder> {
  const target = resolve(path);
  await recover(target);
  const place = options.resume ? await keptPlace(path, target, options) : await temporaryPlace(path, target, options);
  const { partial, resumable } = place;
  const register = sinkRegister(path);
  let over = false;
  const giveUp = async (): Promise<void> => {
    if (over) return;
    over = true;
    await place.giveUp();
  };
  return {
    name: path,
    async file(name) {
      register.check(name);
      // Of a run before, if any: it is written again.
      await rm(join(partial, name), { force: true });
      return register.add(name, await createFile(join(partial, name), join(path, name)));
    },
    async commit() {
      register.finish();
      try {
        await syncFolder(partial);
        await moveIntoPlace(path, target, partial, options);
      } catch (error) {
        await giveUp();
        throw fileSystemError(path, error);
      }
      over = true;
      await syncFolder(dirname(target));
      await place.moved();
    },
    async abort() {
      await register.abort();
      await giveUp();
    },
    ...(resumable && {
      resumable: {
        journal: resumable,
        async reopen(name: string) {
          register.check(name);
          const file = await openResumable(join(partial, name), join(path, name));
          return { ...file, ...register.add(name, file) };
        },
      },
    }),
  };
}

/** Where a folder is until it is complete. */
interface Place {
  readonly partial: string;
  /** Where it is kept for the next run. */
  readonly resumable?: Journal;
  giveUp(): Promise<void>;
  moved(): Promise<void>;
}

async function temporaryPlace(path: string, target: string, options: OutputOptions): Promise<Place> {
  await checkTarget(path, target, options);
  const partial = partialOf(target);
  await makeFolder(partial, path);
  trackTemporary(partial);
  return {
    partial,
    async giveUp() {
      await rm(partial, { recursive: true, force: true });
      releaseTemporary(partial);
    },
    moved: async () => releaseTemporary(partial),
  };
}

async function keptPlace(path: string, target: string, options: OutputOptions): Promise<Place> {
  const { partial, journal, leave, done } = await openKept(target);
  try {
    await checkTarget(path, target, options);
    // Without a journal nobody knows what is in it.
    if (journal.lines.length === 0) await rm(partial, { recursive: true, force: true });
    if (!(await exists(partial))) await makeFolder(partial, path);
  } catch (error) {
    await leave();
    throw error;
  }
  return { partial, resumable: journal, giveUp: leave, moved: done };
}

const makeFolder = (folder: string, path: string): Promise<void> =>
  mkdir(folder).catch((error: unknown) => Promise.reject(fileSystemError(path, error)));

async function moveIntoPlace(path: string, target: string, partial: string, options: OutputOptions): Promise<void> {
  // Again: it may have changed during a long run.
  if (!(await checkTarget(path, target, options))) return rename(partial, target);
  const previous = previousOf(target);
  await rename(target, previous);
  try {
    await rename(partial, target);
  } catch (error) {
    await rename(previous, target);
    throw error;
  }
  // The new model is in place: what can't be removed now, the next run removes.
  await removeModelFolder(previous).catch(() => undefined);
}

/** Ends what a run that was killed while replacing `target` left undone. */
async function recover(target: string): Promise<void> {
  const previous = previousOf(target);
  if (!(await exists(previous))) return;
  if (!(await exists(target))) await rename(previous, target);
  else await removeModelFolder(previous);
}

/** Whether there is a folder to replace; throws where it must not be. */
async function checkTarget(path: string, target: string, options: OutputOptions): Promise<boolean> {
  if (!(await exists(target))) return false;
  if (!options.overwrite) throw new FileError(`${path}: it exists. Choose another name or allow overwriting.`);
  await listModelFolder(target, path);
  return true;
}

/** The files of a folder that holds a model and nothing else; an empty folder passes. */
async function listModelFolder(folder: string, name = folder): Promise<string[]> {
  if (!(await lstat(folder)).isDirectory()) {
    throw new FileError(`${name}: it exists and is not a folder, so it is not replaced. Choose another name.`);
  }
  const entries = await readdir(folder, { withFileTypes: true });
  const foreign = entries.find((e) => !e.isFile() || !(MODEL_FILE_NAMES.has(e.name) || SAFETENSORS.test(e.name)));
  if (foreign) {
    throw new FileError(
      `${name}: it holds ${quote(foreign.name)}, which is no part of a model, so the folder is not replaced. ` +
        'Choose another name, or move that file away.',
    );
  }
  if (entries.length > 0 && !entries.some((entry) => SAFETENSORS.test(entry.name))) {
    throw new FileError(`${name}: it holds no model, so the folder is not replaced. Choose another name.`);
  }
  return entries.map((entry) => entry.name);
}

/** Removes a model folder file by file: whatever is not one of its files keeps it in place. */
async function removeModelFolder(folder: string): Promise<void> {
  // Weights last, so that a removal that was cut short is still recognized as a model folder.
  const names = await listModelFolder(folder);
  names.sort((a, b) => Number(SAFETENSORS.test(a)) - Number(SAFETENSORS.test(b)));
  for (const name of names) await unlink(join(folder, name));
  await rmdir(folder);
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw fileSystemError(path, error);
  }
}
