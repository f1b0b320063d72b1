import { stat } from 'node:fs/promises';
import type { ModelFiles } from '../files/model-files.ts';
import { nodeFolder, openPath } from '../files/node-files.ts';
import type { ByteSource } from '../files/source.ts';

/** A model folder or a single file, whichever the path is. @throws FileError */
export async function openInput(path: string): Promise<ModelFiles | ByteSource> {
  const found = await stat(path).catch(() => undefined);
  // Of a path that is missing, the ending says what was meant.
  const isFile = found ? !found.isDirectory() : /\.(gguf|safetensors)$/i.test(path);
  return isFile ? openPath(path) : nodeFolder(path);
}
