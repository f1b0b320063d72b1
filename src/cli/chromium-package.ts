import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { parseTar } from 'nanotar';
import { NoDeviceError } from '../errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export const CHROMIUM_PACKAGE = '@sparticuz/chromium';
/** The largest file unpacks to 190 MB: whatever is much larger is not it. */
const MAX_UNPACKED_BYTES = 512 * 1024 * 1024;

/** A file of the package's `bin` folder and what to take out of it. */
export interface Archive {
  readonly archive: string;
  /** Paths in the tar archive; for a file that is no tar archive, one name: its own. */
  readonly files: readonly string[];
}

export interface UnpackOptions {
  /** Of the cache folder, in front of the package's version. */
  readonly name: string;
  readonly archives: readonly Archive[];
  /** Text files to put beside, by name. */
  readonly extra?: (folder: string) => Readonly<Record<string, string>>;
  readonly env?: Environment;
}

/**
 * Unpacks parts of the npm package `@sparticuz/chromium` into a cache folder, once a version; renamed into place when
 * complete, so that neither a killed process nor two at a time leave half of it. Resolves to the folder.
 * @throws NoDeviceError when the package is not installed, not for this machine, or does not hold what it should.
 */
export async function unpackChromiumPackage(options: UnpackOptions): Promise<string> {
  const { name, archives, env = process.env } = options;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new NoDeviceError(`What the package ${CHROMIUM_PACKAGE} ships runs on Linux x64 only.`);
  }
  const { root, version } = await findPackage();
  const cache = join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'compressa');
  const folder = join(cache, `${name}-${version}`);
  const more = Object.entries(options.extra?.(folder) ?? {});
  const wanted = [...archives.flatMap(({ files }) => files), ...more.map(([file]) => file)];
  const complete = () => wanted.every((file) => existsSync(join(folder, basename(file))));
  if (complete()) return folder;

  await mkdir(cache, { recursive: true });
  const partial = await mkdtemp(`${folder}.partial-`);
  try {
    for (const archive of archives) await unpack(join(root, 'bin'), archive, partial);
    for (const [file, text] of more) await writeFile(join(partial, file), text);
    await rename(partial, folder).catch((error: unknown) => {
      // Another process was faster: its copy is as good.
      if (!complete()) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}

async function findPackage(): Promise<{ root: string; version: string }> {
  let root: string;
  try {
    root = dirname(createRequire(import.meta.url).resolve(CHROMIUM_PACKAGE));
  } catch (cause) {
    throw new NoDeviceError(`The package ${CHROMIUM_PACKAGE} is not installed. Run: npm install ${CHROMIUM_PACKAGE}`, {
      cause,
    });
  }
  while (!existsSync(join(root, 'bin'))) {
    if (root === dirname(root)) {
      throw new NoDeviceError(`This version of ${CHROMIUM_PACKAGE} has no folder "bin". Install version 143.`);
    }
    root = dirname(root);
  }
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version?: unknown };
  return { root, version: String(manifest.version).replaceAll(/[^A-Za-z0-9.-]/g, '_') };
}

async function unpack(bin: string, { archive, files }: Archive, folder: string): Promise<void> {
  const path = join(bin, archive);
  if (!existsSync(path)) {
    throw new NoDeviceError(`This version of ${CHROMIUM_PACKAGE} has no ${archive}. Install version 143.`);
  }
  const bytes = await promisify(brotliDecompress)(await readFile(path), { maxOutputLength: MAX_UNPACKED_BYTES });
  const found = archive.endsWith('.tar.br')
    ? parseTar(bytes).filter(({ type }) => type === 'file')
    : [{ name: files[0]!, data: bytes }];
  for (const file of files) {
    // Known names and nothing else: the archive never chooses a path.
    const data = found.find(({ name }) => name === file || name === `./${file}`)?.data;
    if (!data) throw new NoDeviceError(`${archive} of ${CHROMIUM_PACKAGE} lacks ${file}. Install version 143.`);
    await writeFile(join(folder, basename(file)), data, { mode: 0o755 });
  }
}
