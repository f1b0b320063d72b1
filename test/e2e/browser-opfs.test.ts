import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'puppeteer-core';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import { compress } from '../../src/passes/compress.ts';
import { verify } from '../../src/verify/verify.ts';
import { findBrowser, launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';
import { openTestGpu } from '../gpu/open-test-gpu.ts';
// Types only: the page itself runs in the browser.
import type {} from './browser-opfs/page.ts';

const SAMPLE = 'models/union-7m';
const [WINDOW, WINDOWS] = [32, 2];
/** Most milliseconds for one question to the page, below the test's own limit: this error says more. */
const ANSWER = 170_000;

let folder: string;
let server: PreviewServer | undefined;
let browser: Browser | undefined;
let page: Page;
let url: string;
/** The last things that the page said. */
const said: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-opfs-'));
  const common = { configFile: false, logLevel: 'warn', root: join(import.meta.dirname, 'browser-opfs') } as const;
  await build({
    ...common,
    plugins: [wgsl()],
    publicDir: join(process.cwd(), SAMPLE),
    build: { outDir: folder, emptyOutDir: true, minify: false },
  });
  // `mpa`: a file that is missing is missing, not the page once more.
  server = await preview({
    ...common,
    appType: 'mpa',
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0 },
  });
  url = server.resolvedUrls!.local[0]!;
  browser = await launchBrowser({ timeout: ANSWER });
  page = await browser.newPage();
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  await page.goto(url, { timeout: 30_000 });
});

afterAll(async () => {
  // A browser that hangs does not answer; its process ends anyway.
  const closed = browser?.close().then(() => true);
  const hung = new Promise<boolean>((resolve) => setTimeout(resolve, 10_000, false).unref());
  if (closed && !(await Promise.race([closed, hung]))) browser?.process()?.kill('SIGKILL');
  await server?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test("compresses into the browser's own file system what Node makes, and verifies it there", {
  timeout: 180_000,
}, async () => {
  const question = page.evaluate((...given) => window.compressIntoOpfs(...given), url, WINDOW, WINDOWS);
  const { answers, files, refusal, report, chosen } = await question.catch(async (cause) => {
    const { path, origin } = await findBrowser();
    throw new Error(`${cause}\nThe browser was ${path} (${origin}); the page last said: ${said.slice(-5).join('; ')}`);
  });
  // Ranges, and what a model may lack.
  expect(Object.keys(answers).sort()).toEqual(['206', '404']);
  expect(answers[206]).toBeGreaterThan(100);
  expect(refusal).toMatch(
    /^union-7m-q4_0: the folder holds files already\. Choose another one or allow overwriting\.$/,
  );
  expect(chosen).toEqual(['whole', 'whole']);

  const gpu = await openTestGpu();
  try {
    const output = memoryOutput();
    await compress(await nodeFolder(SAMPLE), output, { gpu, format: 'q4_0' });
    expect(files).toEqual(Object.fromEntries([...output.files].map(([name, bytes]) => [name, sha256(bytes)])));

    const original = await openCheckpoint(await nodeFolder(SAMPLE));
    const compressed = await openCheckpoint(memoryFolder('compressed', Object.fromEntries(output.files)));
    const data = await readFile(`${SAMPLE}/validation.tokens.u16`);
    const tokens = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
    const here = await verify(original, compressed, { gpu, tokens, window: WINDOW, windows: WINDOWS, speed: false });
    expect(report.checks.map(({ name, passed }) => [name, passed])).toEqual(
      here.checks.map(({ name }) => [name, true]),
    );
    expect(report.checks.length).toBeGreaterThan(2);
    expect(report.size.compressed).toBe(here.size.compressed);
    expect(report.size.bitsPerWeight).toEqual(here.size.bitsPerWeight);
    expect(report.speed).toBeNull();
    // Sums in f32 differ from driver to driver, in the sixth digit or so.
    const [there, wanted] = [report.accuracy!.perplexity, here.accuracy!.perplexity];
    for (const key of ['original', 'compressed'] as const) {
      expect(Math.abs(there[key]! / wanted[key]! - 1), key).toBeLessThan(1e-4);
    }
    expect(there.compressed).not.toBe(there.original);
    expect(there.control!).toBeGreaterThan(2 * there.original);
    await original.close();
    await compressed.close();
  } finally {
    gpu.close();
  }
});
