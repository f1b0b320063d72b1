import { FileError } from '../errors.ts';
import { checkFileName } from './file-name.ts';
import type { ModelFiles } from './model-files.ts';
import { findFile, findFolder, namingErrors, readJournal } from './opfs-journal.ts';
import { blobSource } from './source.ts';
import { quote } from './text.ts';

/** What messages call a folder; the root of a browser's own file system has no name. */
export const nameOf = (directory: FileSystemDirectoryHandle): string => directory.name || 'OPFS';

/**
 * A model in a folder of the browser's own file system (`navigator.storage.getDirectory()`), or in one that a user chose. Files
 * come as they are needed. Where a commit of `opfsOutput` was cut short, its files are what is seen, and no others.
 */
export function opfsFolder(directory: FileSystemDirectoryHandle): ModelFiles {
  const name = nameOf(directory);
  const find = async (file: string): Promise<FileSystemFileHandle | undefined> => {
    checkFileName(file, name);
    return namingErrors(`${name}/${file}`, async () => {
      const begun = await readJournal(directory, name);
      if (begun && !begun.files.includes(file)) return undefined;
      const waiting = begun && (await findFolder(directory, begun.pending));
      return (waiting && (await findFile(waiting, file))) ?? findFile(directory, file);
    });
  };
  return {
    name,
    async open(file) {
      const handle = await find(file);
      const path = `${name}/${file}`;
      if (!handle) throw new FileError(`${name}: there is no file ${quote(file)}. Check the folder.`);
      return blobSource(path, await namingErrors(path, () => handle.getFile()));
    },
    has: async (file) => (await find(file)) !== undefined,
  };
}
