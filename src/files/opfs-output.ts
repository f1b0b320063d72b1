import { FileError } from '../errors.ts';
import { fileSystemSink } from './file-system-sink.ts';
import { nameOf } from './opfs-folder.ts';
import {
  entryNames,
  findFile,
  finishCommit,
  isOwnEntry,
  namingErrors,
  pendingName,
  readJournal,
  writeJournal,
} from './opfs-journal.ts';
import { type ByteSink, type OutputFolder, type OutputOptions, sinkRegister } from './sink.ts';
import { quote } from './text.ts';

const WEIGHTS = /\.(safetensors|gguf)$/i;
/** Files that model folders have; a folder with any other is never replaced. */
const MODEL_FILE = /\.(safetensors|gguf|json|jinja|model|txt|md)$|^(LICENSE|NOTICE|\.gitattributes)$/i;

/**
 * A model in a folder of the browser's own file system (`navigator.storage.getDirectory()`), or in one that a user chose.
 *
 * Browsers can't put several files in place at once. So they are written to a folder inside it; `commit` first closes a small
 * journal that names them, which is atomic, then moves each into place and removes the journal. Guaranteed: through
 * `opfsFolder` the folder shows either what it held before or all of the new files, also where the page is closed at any moment;
 * the next `opfsOutput` ends a commit that was cut short, and clears what one that never came left. Not guaranteed to those
 * who read the folder in other ways: for a moment during `commit` they find old files beside new ones, each whole.
 * Of two outputs to one folder the later takes the place of the other, whose `commit` then fails.
 * @throws FileError where the folder holds something and `overwrite` is off, or something else than a model
 */
export async function opfsOutput(
  directory: FileSystemDirectoryHandle,
  options: OutputOptions = {},
): Promise<OutputFolder> {
  const name = nameOf(directory);
  const pendingFolder = pendingName();
  const pending = await namingErrors(name, async () => {
    const begun = await readJournal(directory, name);
    if (begun) await finishCommit(directory, begun);
    await checkTarget(directory, name, options);
    for (const entry of await entryNames(directory)) {
      if (isOwnEntry(entry)) await directory.removeEntry(entry, { recursive: true });
    }
    return directory.getDirectoryHandle(pendingFolder, { create: true });
  });
  const register = sinkRegister(name);
  let decided = false;
  const discard = async (): Promise<void> => {
    if (!decided) await directory.removeEntry(pendingFolder, { recursive: true }).catch(() => undefined);
  };
  return {
    name,
    async file(file) {
      register.check(file);
      const path = `${name}/${file}`;
      const sink = await namingErrors(path, async () =>
        fileSystemSink(await pending.getFileHandle(file, { create: true }), path),
      );
      return register.add(file, removedByAbort(sink, pending, file));
    },
    async commit() {
      const files = register.finish();
      const journal = { pending: pendingFolder, files };
      await namingErrors(name, async () => {
        try {
          // Again: it may have changed during a long run.
          await checkTarget(directory, name, options);
          await checkComplete(pending, files, name);
          await writeJournal(directory, journal);
          decided = true;
        } catch (error) {
          await discard();
          throw error;
        }
        await finishCommit(directory, journal);
      });
    },
    async abort() {
      await register.abort();
      await discard();
    },
  };
}

const removedByAbort = (sink: ByteSink, folder: FileSystemDirectoryHandle, file: string): ByteSink => ({
  ...sink,
  async abort() {
    await sink.abort();
    await folder.removeEntry(file).catch(() => undefined);
  },
});

/** Refuses to replace what must not be. */
async function checkTarget(folder: FileSystemDirectoryHandle, name: string, options: OutputOptions): Promise<void> {
  const entries: string[] = [];
  for await (const [entry, handle] of folder.entries()) {
    if (isOwnEntry(entry)) continue;
    if (handle.kind !== 'file' || !MODEL_FILE.test(entry)) {
      throw new FileError(
        `${name}: it holds ${quote(entry)}, which is no part of a model, so the folder is not replaced. ` +
          'Choose another folder, or move that away.',
      );
    }
    entries.push(entry);
  }
  if (entries.length === 0) return;
  if (!options.overwrite) {
    throw new FileError(`${name}: the folder holds files already. Choose another one or allow overwriting.`);
  }
  if (!entries.some((entry) => WEIGHTS.test(entry))) {
    throw new FileError(`${name}: it holds no model, so the folder is not replaced. Choose another one.`);
  }
}

/** Another output to the same folder has removed what this one wrote. */
async function checkComplete(
  pending: FileSystemDirectoryHandle,
  files: readonly string[],
  name: string,
): Promise<void> {
  for (const file of files) {
    if (await findFile(pending, file)) continue;
    throw new FileError(`${name}: ${quote(file)} is gone; another output to this folder was begun. Start again.`);
  }
}
