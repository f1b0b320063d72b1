import { stat } from 'node:fs/promises';
import { ArgumentError } from '../errors.ts';
import type { ModelFiles } from '../files/model-files.ts';
import { nodeFolder, openPath } from '../files/node-files.ts';
import type { ByteSource } from '../files/source.ts';

/** A model folder or a single file, whichever the path is. @throws ArgumentError, FileError */
export async function openInput(path: string): Promise<ModelFiles | ByteSource> {
  if (path === '')
    throw new ArgumentError('The name of the model is empty. Name a folder, a .gguf or a .safetensors file.');
  const found = await stat(path).catch(() => undefined);
  // Of a path that is missing, the ending says what was meant.
  const isFile = found ? !found.isDirectory() : /\.(gguf|safetensors)$/i.test(path);
  return isFile ? openPath(path) : nodeFolder(path);
}
