import * as v from 'valibot';
import { FileError } from '../errors.ts';
import { parseJsonObject } from './strict-json.ts';
import { webErrorName, webFileError } from './web-file-error.ts';

/** Begins the name of a folder inside the one that is written, where new files wait for their commit. */
const PENDING = '.compressa-pending-';
/** Says that the files that wait are those of the folder. */
const JOURNAL = '.compressa-commit.json';

/** Whether an entry is ours, and no part of a model. */
export const isOwnEntry = (name: string): boolean => name === JOURNAL || name.startsWith(PENDING);

/** A name that no other output has. */
export const pendingName = (): string => `${PENDING}${crypto.randomUUID()}`;

/** A commit that was begun. */
export interface Journal {
  /** The folder where files wait. */
  readonly pending: string;
  /** What the folder holds from now on. */
  readonly files: readonly string[];
}

/** Chrome, Safari and Firefox have it; the standard does not yet. */
interface MovableFile extends FileSystemFileHandle {
  move?(parent: FileSystemDirectoryHandle, name: string): Promise<void>;
}

const JournalSchema = v.strictObject({
  pending: v.pipe(v.string(), v.startsWith(PENDING)),
  files: v.array(v.string()),
});

/** Undefined where there is nothing of that kind, as opposed to a failure. */
async function orUndefined<T>(wanted: Promise<T>): Promise<T | undefined> {
  try {
    return await wanted;
  } catch (error) {
    if (webErrorName(error) === 'NotFoundError' || webErrorName(error) === 'TypeMismatchError') return undefined;
    throw error;
  }
}

export const findFile = (folder: FileSystemDirectoryHandle, name: string): Promise<FileSystemFileHandle | undefined> =>
  orUndefined(folder.getFileHandle(name));

export const findFolder = (
  folder: FileSystemDirectoryHandle,
  name: string,
): Promise<FileSystemDirectoryHandle | undefined> => orUndefined(folder.getDirectoryHandle(name));

/** The commit that was begun in the folder and not ended, if any. */
export async function readJournal(folder: FileSystemDirectoryHandle, name: string): Promise<Journal | undefined> {
  const handle = await findFile(folder, JOURNAL);
  if (!handle) return undefined;
  const file = await handle.getFile();
  // Made, but never closed: the commit had not begun.
  if (file.size === 0) return undefined;
  const journal = parseJsonObject(new Uint8Array(await file.arrayBuffer()), `${name}/${JOURNAL}`);
  if (v.is(JournalSchema, journal)) return journal;
  throw new FileError(`${name}/${JOURNAL}: it is not what Compressa writes. Remove the folder.`);
}

/** From here on the files that wait are what the folder holds: closing the journal is the one atomic step. */
export async function writeJournal(folder: FileSystemDirectoryHandle, journal: Journal): Promise<void> {
  const stream = await (await folder.getFileHandle(JOURNAL, { create: true })).createWritable();
  await stream.write(JSON.stringify(journal));
  await stream.close();
}

/** Ends a commit that was begun: moves what waits, and removes what the folder held before. Can be cut short and repeated. */
export async function finishCommit(folder: FileSystemDirectoryHandle, { pending, files }: Journal): Promise<void> {
  const waiting = await findFolder(folder, pending);
  if (waiting) {
    for (const name of files) {
      const file = await findFile(waiting, name);
      if (file) await moveFile(waiting, file, folder, name);
    }
  }
  const kept = new Set(files);
  for (const name of await entryNames(folder)) {
    if (!kept.has(name) && !isOwnEntry(name)) await folder.removeEntry(name);
  }
  if (waiting) await folder.removeEntry(pending, { recursive: true });
  await folder.removeEntry(JOURNAL);
}

/** The old file of that name goes only where the new one is whole: by a move, or once its copy is closed. */
async function moveFile(
  from: FileSystemDirectoryHandle,
  file: MovableFile,
  to: FileSystemDirectoryHandle,
  name: string,
): Promise<void> {
  if (file.move) {
    // Not every browser replaces a file by a move. Between the two a reader finds the new one where it waits.
    if (await findFile(to, name)) await to.removeEntry(name);
    await file.move(to, name);
    return;
  }
  const target = await to.getFileHandle(name, { create: true });
  await (await file.getFile()).stream().pipeTo(await target.createWritable());
  await from.removeEntry(name);
}

/** Names of what the folder holds. */
export async function entryNames(folder: FileSystemDirectoryHandle): Promise<string[]> {
  const names: string[] = [];
  for await (const name of folder.keys()) names.push(name);
  return names;
}

/** Runs `work`; any failure becomes a FileError that names the folder. */
export async function namingErrors<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw webFileError(name, error);
  }
}
