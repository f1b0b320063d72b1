import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { ArgumentError } from '../errors.ts';
import { fileSystemError, systemCode } from './node-error.ts';
import { previousOf, resumablePartialOf } from './node-paths.ts';

/** A file or folder, by whatever name it is reached. */
interface Place {
  /** As a user knows it. */
  readonly name: string;
  /** Without links. */
  readonly real: string;
  /** Device and number on it, which hard links share. */
  readonly id: string | undefined;
}

const NEVER =
  'What is lost by quantizing never comes back, so an original is not replaced, overwriting or not. Choose another output.';

/**
 * Refuses an output that is the input, holds it, lies in its folder, or replaces one of its files, through links of any kind.
 * Other files may be written beside the weights of a folder. An input that does not exist is left to whoever opens it.
 * @param folder whether the output is to be a folder
 * @throws ArgumentError, before anything is written
 */
export async function refuseReplacing(input: string, output: string, folder: boolean): Promise<void> {
  const source = await placeAt(input);
  if (!source) return;
  // A folder is made at the normalized path, a file at the path as it stands.
  const path = folder ? resolve(output) : output;
  const real = await realOf(path);
  if (real === source.real) throw new ArgumentError(`${output}: it is the model that is to be compressed. ${NEVER}`);
  const files = await filesIn(source);
  // What an earlier run left beside the target is renamed or removed, too.
  for (const replaced of [real, previousOf(real), resumablePartialOf(real)]) {
    const held = [source, ...files].find((file) => file.real === replaced || file.real.startsWith(replaced + sep));
    if (held) throw new ArgumentError(`${output}: it would replace ${held.name}, which is to be compressed. ${NEVER}`);
  }
  const target = await placeAt(path, output);
  const ids = new Map(
    [source, ...files].flatMap((file) => (file.id === undefined ? [] : [[file.id, file.name] as const])),
  );
  for (const { name, id } of target ? [target, ...(await filesIn(target))] : []) {
    const same = id === undefined ? undefined : ids.get(id);
    if (same === undefined) continue;
    throw new ArgumentError(`${output}: ${name} is the same file as ${same}, which is to be compressed. ${NEVER}`);
  }
  if (folder && real.startsWith(source.real + sep)) {
    throw new ArgumentError(
      `${output}: it lies in ${input}, the folder that is to be compressed. Choose an output elsewhere.`,
    );
  }
  // Beside shards it would be read in their place.
  if (dirname(real) === source.real && basename(real) === 'model.safetensors') {
    throw new ArgumentError(`${output}: ${input} would be read from it henceforth. ${NEVER}`);
  }
}

/** What is at `path`; undefined where there is nothing that can be looked at. */
async function placeAt(path: string, name = path): Promise<Place | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    // Some file systems number nothing.
    return { name, real: await realpath(path), id: ino === 0n ? undefined : `${dev}:${ino}` };
  } catch {
    return undefined;
  }
}

/** The files of a folder that a model may be read from: links lead to where the file is. Of a file there are none. */
async function filesIn(folder: Place): Promise<Place[]> {
  const names = await readdir(folder.real).catch(() => []);
  const places = await Promise.all(
    names
      // Folders are read from safetensors files only.
      .filter((name) => !/\.gguf$/i.test(name))
      .map((name) => placeAt(join(folder.real, name), join(folder.name, name))),
  );
  return places.filter((place) => place !== undefined);
}

/** A path without links, of which the last parts need not exist. @throws FileError */
async function realOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    const parent = dirname(path);
    const missing = systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR';
    if (!missing || parent === path) throw fileSystemError(path, error);
    return join(await realOf(parent), basename(path));
  }
}
