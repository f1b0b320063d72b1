import { FileError } from '../errors.ts';
import { checkFileName } from './file-name.ts';
import { type HttpOptions, urlExists, urlSource } from './http-source.ts';
import { type ByteSource, memorySource } from './source.ts';
import { quote } from './text.ts';

/** The files of one model, flat: a folder, a URL that files hang under, or memory. */
export interface ModelFiles {
  readonly name: string;
  /** @throws FileError where the folder has no such file. */
  open(name: string): Promise<ByteSource>;
  /** Whether the folder has such a file. */
  has(name: string): Promise<boolean>;
}

/** A model held in memory: file names to bytes or text. */
export function memoryFolder(name: string, files: Readonly<Record<string, Uint8Array | string>>): ModelFiles {
  const bytes = new Map(
    Object.entries(files).map(([file, data]) => [
      file,
      typeof data === 'string' ? new TextEncoder().encode(data) : data,
    ]),
  );
  return {
    name,
    async open(file) {
      const data = bytes.get(file);
      if (!data)
        throw new FileError(
          `${name}: there is no file ${quote(file)}; it has ${[...bytes.keys()].map(quote).join(', ')}.`,
        );
      return memorySource(`${name}/${file}`, data);
    },
    async has(file) {
      return bytes.has(file);
    },
  };
}

/** A model whose files are served under `baseUrl`. */
export function httpFolder(baseUrl: string | URL, options: HttpOptions = {}): ModelFiles {
  const base = new URL(baseUrl);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  const name = base.href;
  const urlOf = (file: string): URL => {
    checkFileName(file, name);
    return new URL(encodeURIComponent(file), base);
  };
  return {
    name,
    open: async (file) => urlSource(urlOf(file), options),
    has: async (file) => urlExists(urlOf(file), options),
  };
}
