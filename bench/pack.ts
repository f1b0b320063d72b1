import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { createTar, type TarFileInput } from 'nanotar';
import { build } from 'vite';
import { unpackChromiumPackage } from '../src/cli/chromium-package.ts';
import { libraryFolders } from '../src/cli/software-vulkan.ts';
import { ArgumentError, FileError } from '../src/errors.ts';
import { makeParent } from '../src/files/node-folders.ts';
import { nodeFileSink } from '../src/files/node-sink.ts';
import type { ByteSink } from '../src/files/sink.ts';
import { wgsl } from '../tools/wgsl-plugin.ts';

/** Rented machines have slow lines. */
const MOST_BYTES = 60e6;
/** The folder that the archive unpacks to. */
const FOLDER = 'compressa-bench';
const LOADER = 'libvulkan.so.1';
/** What the suite reads of the model: no texts. */
const MODEL_FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/** `dirname` and a shell are all that it needs of the machine. It stays where it was called from: paths are the caller's. The loader finds the drivers of the machine, whichever they are. */
const RUN = `#!/bin/sh
# The benchmark of Compressa on this machine: ./run --help. Needs a Vulkan driver, and nothing else.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
LD_LIBRARY_PATH="$here/lib\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/node" "$here/app/bench.js" "$@"
`;

/**
 * Writes a .tar.gz that has all that the suite needs on a bare Linux x64 machine with a Vulkan driver: Node, Dawn, a Vulkan loader, the engine, the suite,
 * the sample model. Gzip, since every such machine can unpack that; xz it often can't.
 * @returns bytes of the archive
 * @throws ArgumentError on other machines; FileError where it would exceed `MOST_BYTES`
 */
export async function packBench(path: string, model: string): Promise<number> {
  const removeParents = await makeParent(path);
  let sink: ByteSink | undefined;
  try {
    // First, so that a place that can't be written to shows at once.
    sink = await nodeFileSink(path, { overwrite: true });
    const archive = await archiveOf(model);
    await sink.write(archive);
    await sink.commit();
    return archive.byteLength;
  } catch (error) {
    await sink?.abort();
    await removeParents();
    throw error;
  }
}

async function archiveOf(model: string): Promise<Uint8Array> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new ArgumentError('--pack takes Node and Dawn from this machine: run it on Linux x64.');
  }
  const files: TarFileInput[] = [];
  const add = (name: string, data: Uint8Array | string, mode = '644') =>
    files.push({ name: `${FOLDER}/${name}`, data, attrs: { mode } });
  const work = await mkdtemp(join(tmpdir(), 'compressa-pack-'));
  try {
    add('run', RUN, '755');
    add('package.json', await readFile('package.json'));
    add('LICENSE', await readFile('LICENSE'));
    add('node', await stripped(process.execPath, work), '755');
    add(`lib/${LOADER}`, await readFile(await findLoader()));
    const dawn = dirname(createRequire(import.meta.url).resolve('webgpu'));
    const library = 'dist/linux-x64/dawn.node';
    for (const name of ['package.json', 'index.js', 'LICENSE.md']) {
      add(`app/node_modules/webgpu/${name}`, await readFile(join(dawn, name)));
    }
    add(`app/node_modules/webgpu/${library}`, await stripped(join(dawn, library), work));
    add('app/package.json', '{ "type": "module" }\n');
    for (const [name, text] of await bundle(join(work, 'app'))) add(`app/${name}`, text);
    for (const name of MODEL_FILES) add(`${model}/${name}`, await readFile(join(model, name)));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const archive = await promisify(gzip)(createTar(files), { level: 9 });
  if (archive.byteLength > MOST_BYTES) {
    throw new FileError(
      `The archive would have ${megabytes(archive.byteLength)}, more than ${megabytes(MOST_BYTES)}: Node ${process.versions.node} is too large. Run it with an older Node (20 does), and where binutils are installed (strip).`,
    );
  }
  return archive;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** A binary without what only debuggers read, where binutils are at hand. */
async function stripped(path: string, folder: string): Promise<Uint8Array> {
  const copy = join(folder, 'binary');
  await copyFile(path, copy);
  try {
    await promisify(execFile)('strip', [copy]);
    return await readFile(copy);
  } catch {
    return readFile(path);
  }
}

/** A Vulkan loader: the one of Chromium's package, which runs on older systems too, else the machine's own. @throws NoDeviceError */
async function findLoader(): Promise<string> {
  try {
    const archives = [{ archive: 'swiftshader.tar.br', files: [LOADER] }];
    return join(await unpackChromiumPackage({ name: 'vulkan-loader', archives }), LOADER);
  } catch (error) {
    const own = libraryFolders(process.env)
      .map((folder) => join(folder, LOADER))
      .find(existsSync);
    if (own === undefined) throw error;
    return own;
  }
}

/** The suite and the engine as one program, by file name. */
async function bundle(folder: string): Promise<[string, Uint8Array][]> {
  await build({
    configFile: false,
    logLevel: 'warn',
    plugins: [wgsl()],
    ssr: { noExternal: true, external: ['webgpu'] },
    build: {
      ssr: join(import.meta.dirname, 'packed.ts'),
      outDir: folder,
      emptyOutDir: true,
      minify: true,
      target: 'node20',
      rollupOptions: { output: { entryFileNames: 'bench.js', chunkFileNames: '[name]-[hash].js' } },
    },
  });
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  return Promise.all(
    names.map(async ({ name, parentPath }): Promise<[string, Uint8Array]> => {
      const path = join(parentPath, name);
      return [path.slice(folder.length + 1), await readFile(path)];
    }),
  );
}
