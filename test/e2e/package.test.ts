import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, preview } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchBrowser } from '../../tools/browser.ts';

// The package as others get it: packed from the built dist/, installed into an empty project.
const SAMPLE = resolve('models/union-7m');
/** Most bytes, compressed as servers send it, of a page that compresses models, and of one that holds all there is. */
const CORE_BYTES = 150_000;
const ALL_BYTES = 270_000;

let project: string;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(command: string, args: readonly string[], cwd = project): Promise<Ended> {
  return new Promise((done, fail) => {
    // What npm tells the scripts that it runs is not for the npm that they run.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?!config_)/.test(name)));
    const child = spawn(command, args, { cwd, env });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    child.on('error', fail);
    child.on('close', (code) => done({ code, out, err }));
  });
}

async function succeed(command: string, args: readonly string[], cwd?: string): Promise<string> {
  const { code, out, err } = await run(command, args, cwd);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${out}\n${err}`);
  return out;
}

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'compressa-package-'));
  // Without its scripts: they would build dist/ again under tests that use it.
  const packed = await succeed(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', project],
    process.cwd(),
  );
  const { filename } = (JSON.parse(packed) as { filename: string }[])[0]!;
  await writeFile(join(project, 'package.json'), '{ "name": "somebody", "private": true, "type": "module" }');
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--omit=peer', '--omit=optional', '--ignore-scripts'];
  await succeed('npm', ['install', ...quiet, join(project, filename)]);
});

afterAll(async () => {
  if (project) await rm(project, { recursive: true, force: true });
});

test('without the optional WebGPU for Node, the error says what to install', async () => {
  const script = `import { openGpu } from 'compressa'; await openGpu().catch((e) => console.log(e.code, e.message));`;
  const out = await succeed('node', ['--input-type=module', '-e', script]);
  expect(out).toContain('NO_DEVICE');
  expect(out).toContain('npm install webgpu');
});

test('compresses a model in Node, by its command and by its library', async () => {
  // 130 MB that this checkout has already.
  await symlink(resolve('node_modules/webgpu'), join(project, 'node_modules', 'webgpu'));
  await succeed(join('node_modules', '.bin', 'compressa'), [
    'compress',
    SAMPLE,
    '-o',
    'by-command',
    '--format',
    'q4_0',
  ]);
  await writeFile(
    join(project, 'by-library.js'),
    `import { compress, nodeFolder, nodeOutput, openGpu } from 'compressa';
     const gpu = await openGpu();
     await compress(await nodeFolder(${JSON.stringify(SAMPLE)}), await nodeOutput('by-library'), { gpu, format: 'q4_0' });
     gpu.close();`,
  );
  await succeed('node', ['by-library.js']);
  const bytes = (name: string) => readFile(join(project, name, 'model.safetensors'));
  expect((await bytes('by-library')).equals(await bytes('by-command'))).toBe(true);
});

test('has types for a strict project, for Node and for the web', async () => {
  await writeFile(
    join(project, 'typed.ts'),
    `import { type Gpu, linearSteps, openGpu, openModel, type Report, verify, wrapDense } from 'compressa';
     import { reportHtml } from 'compressa/report-page';
     export async function own(device: GPUDevice, matrix: GPUBuffer): Promise<Gpu> {
       const gpu: Gpu = await openGpu({ device });
       const weight = wrapDense(matrix, 8, 8);
       await gpu.scheduler.run(linearSteps({ x: { buffer: matrix }, weight, y: { buffer: matrix }, tokens: 1 }));
       return gpu;
     }
     export const page = (report: Report): Promise<string> => reportHtml(report);
     // @ts-expect-error: a number is no device
     openGpu({ device: 7 });
     export { openModel, verify };`,
  );
  const config = (conditions: object) =>
    JSON.stringify({
      compilerOptions: {
        ...{ strict: true, noEmit: true, target: 'es2022', module: 'nodenext', moduleResolution: 'nodenext' },
        ...{ lib: ['es2023', 'dom', 'esnext.disposable'], types: [], exactOptionalPropertyTypes: true },
        ...conditions,
      },
      files: ['typed.ts'],
    });
  for (const conditions of [{}, { module: 'preserve', moduleResolution: 'bundler', customConditions: ['browser'] }]) {
    await writeFile(join(project, 'tsconfig.json'), config(conditions));
    await succeed(resolve('node_modules/.bin/tsc'), ['-p', project]);
  }
});

/** Builds a page; the compressed bytes that it asks for at once. What reads GGUF metadata, calibrates or prunes comes when a file or a plan needs it. */
async function builtBytes(page: string): Promise<number> {
  await build({ configFile: false, logLevel: 'warn', root: page });
  const built = await readFile(join(page, 'dist', 'index.html'), 'utf8');
  const wanted = [...built.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((match) => match[1]!);
  let compressed = 0;
  for (const name of wanted) compressed += gzipSync(await readFile(join(page, 'dist', name)), { level: 9 }).length;
  return compressed;
}

test('all of the library is small enough for the web, and what a page does not use stays out', async () => {
  const page = join(project, 'whole');
  await mkdir(page);
  await writeFile(join(page, 'index.html'), '<!doctype html><script type="module" src="./main.js"></script>');
  await writeFile(join(page, 'main.js'), `import * as compressa from 'compressa'; globalThis.compressa = compressa;`);
  const whole = await builtBytes(page);
  expect(whole).toBeLessThan(ALL_BYTES);
  await writeFile(
    join(page, 'main.js'),
    `import { formatByName } from 'compressa'; globalThis.formatByName = formatByName;`,
  );
  expect(await builtBytes(page)).toBeLessThan(whole / 2);
});

test('bundles into a page that works, small enough for the web', async () => {
  const page = join(project, 'page');
  await mkdir(page);
  await writeFile(
    join(page, 'index.html'),
    '<!doctype html><link rel="icon" href="data:,"><script type="module" src="./main.js"></script>',
  );
  await writeFile(
    join(page, 'main.js'),
    `import { compress, httpFolder, memoryOutput, openGpu } from 'compressa';
     globalThis.compressSample = async () => {
       const gpu = await openGpu();
       const output = memoryOutput();
       await compress(httpFolder(location.href), output, { gpu, format: 'q4_0' });
       gpu.close();
       return output.files.get('model.safetensors').byteLength;
     };`,
  );
  await cp(SAMPLE, join(page, 'public'), { recursive: true });
  const core = await builtBytes(page);
  expect(core).toBeGreaterThan(10_000);
  expect(core).toBeLessThan(CORE_BYTES);

  const server = await preview({
    ...{ configFile: false, logLevel: 'warn', root: page, appType: 'mpa' },
    preview: { host: '127.0.0.1', port: 0 },
  });
  try {
    const browser = await launchBrowser({ timeout: 400_000 });
    try {
      const tab = await browser.newPage();
      await tab.goto(server.resolvedUrls!.local[0]!, { timeout: 120_000 });
      const made = await tab.evaluate('compressSample()');
      const { length } = await readFile(join(project, 'by-command', 'model.safetensors'));
      expect(made).toBe(length);
    } finally {
      await browser.close();
    }
  } finally {
    await server.close();
  }
});
