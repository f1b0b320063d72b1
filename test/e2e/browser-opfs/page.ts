// What browser-opfs.test.ts calls inside the browser: the same source as in Node, bundled.
import {
  compress,
  FileError,
  fileSystemSink,
  httpFolder,
  openCheckpoint,
  openGpu,
  opfsFolder,
  opfsOutput,
  type Report,
  verify,
} from '../../../src/index.ts';

export interface OpfsResult {
  /** Statuses of the server's answers, and how many of each. */
  readonly answers: Record<string, number>;
  /** SHA-256 of every file that is in the folder afterwards. */
  readonly files: Record<string, string>;
  /** What is said to a second run that may not overwrite. */
  readonly refusal: string;
  readonly report: Report;
  /** What a file that the page chose itself holds after a commit, and after a run that was given up. */
  readonly chosen: readonly [string, string];
}

declare global {
  interface Window {
    compressIntoOpfs(modelUrl: string, window: number, windows: number): Promise<OpfsResult>;
  }
}

/** Shows up in the test's message where the page hangs. */
const stage = (name: string) => console.log(name);

async function sha256(bytes: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function chosenFile(root: FileSystemDirectoryHandle): Promise<[string, string]> {
  const handle = await root.getFileHandle('chosen.bin', { create: true });
  const text = async () => (await handle.getFile()).text();
  const sink = await fileSystemSink(handle);
  await sink.write(new TextEncoder().encode('whole'));
  await sink.commit();
  const first = await text();
  const another = await fileSystemSink(handle);
  await another.write(new TextEncoder().encode('half'));
  await another.abort();
  return [first, await text()];
}

window.compressIntoOpfs = async (modelUrl, length, windows) => {
  const gpu = await openGpu();
  try {
    const root = await navigator.storage.getDirectory();
    const chosen = await chosenFile(root);
    const directory = await root.getDirectoryHandle('union-7m-q4_0', { create: true });
    const answers: Record<string, number> = {};
    const source = httpFolder(modelUrl, {
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        answers[response.status] = (answers[response.status] ?? 0) + 1;
        return response;
      },
    });
    stage('compressing, twice: the second run replaces the first');
    await compress(source, await opfsOutput(directory), { gpu, format: 'q8_0' });
    await compress(source, await opfsOutput(directory, { overwrite: true }), { gpu, format: 'q4_0' });
    const refusal = await opfsOutput(directory).then(
      () => 'none',
      (error: unknown) => (error instanceof FileError ? error.message : `no FileError: ${error}`),
    );
    stage('reading back');
    const files: Record<string, string> = {};
    for await (const [name, handle] of directory.entries()) {
      if (handle.kind !== 'file') files[name] = 'no file';
      else files[name] = await sha256(await (await (handle as FileSystemFileHandle).getFile()).arrayBuffer());
    }
    const response = await fetch(new URL('validation.tokens.u16', modelUrl));
    const tokens = new Uint16Array(await response.arrayBuffer());
    const original = await openCheckpoint(source);
    const compressed = await openCheckpoint(opfsFolder(directory));
    const report = await verify(original, compressed, {
      gpu,
      tokens,
      window: length,
      windows,
      speed: false,
      onProgress: ({ stage: name }) => stage(`verifying: ${name}`),
    });
    await original.close();
    await compressed.close();
    return { answers, files, refusal, report, chosen };
  } finally {
    gpu.close();
  }
};
