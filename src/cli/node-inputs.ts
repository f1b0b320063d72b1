import { stat } from 'node:fs/promises';
import type { ModelFiles } from '../files/model-files.ts';
import { nodeFolder, openPath } from '../files/node-files.ts';
import type { ByteSource } from '../files/source.ts';

/** Whether `path` is a folder; a path that is missing is none. */
export const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

/** A model folder or a single file, whichever the path is. @throws FileError */
export async function openInput(path: string): Promise<ModelFiles | ByteSource> {
  return (await isFolder(path)) ? nodeFolder(path) : openPath(path);
}
