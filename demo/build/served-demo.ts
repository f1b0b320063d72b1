import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, ConsoleMessage, Page } from 'puppeteer-core';
import { build, preview } from 'vite';
import { launchBrowser } from '../../tools/browser.ts';
// The page itself runs in the browser.
import type {} from '../src/main.ts';

/** The static build, as a file host would serve it from a folder of its own. */
export interface ServedDemo {
  readonly url: string;
  /** Where the build lies, until `close`. */
  readonly folder: string;
  /** Ends the server: what still works does so without one. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Builds the page and serves it from a sub-path. */
export async function serveDemo(): Promise<ServedDemo> {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-demo-'));
  const configFile = resolve(import.meta.dirname, '../vite.config.ts');
  await build({ configFile, logLevel: 'warn', build: { outDir: folder } });
  const server = await preview({
    configFile: false,
    logLevel: 'warn',
    root: import.meta.dirname,
    base: '/some/folder/',
    appType: 'mpa',
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0 },
  });
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= server.close());
  return {
    url: server.resolvedUrls!.local[0]!,
    folder,
    stop,
    async close() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A page in a headless browser, with all that it says and that went wrong in it. */
export interface OpenedDemo {
  readonly browser: Browser;
  readonly page: Page;
  /** Errors and warnings. */
  readonly said: readonly string[];
}

/**
 * Opens the page, but does not wait for the model.
 * @param answer most milliseconds for one question to the page
 */
export async function openDemo(
  url: string,
  { width = 1280, height = 720, answer = 240_000, dark = false } = {},
): Promise<OpenedDemo> {
  const browser = await launchBrowser({ timeout: answer });
  const page = await browser.newPage();
  const said = listenTo(page);
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
  await page.setViewport({ width, height, deviceScaleFactor: 1 });
  await page.goto(url, { timeout: 120_000 });
  return { browser, page, said };
}

export function listenTo(page: Page): string[] {
  const said: string[] = [];
  page.on('console', (message: ConsoleMessage) => {
    if (['error', 'warn', 'assert'].includes(message.type())) said.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => said.push(`uncaught: ${error instanceof Error ? error.stack : error}`));
  page.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    // The engine leaves an answer of which it needs the header only.
    if (reason !== 'net::ERR_ABORTED') said.push(`${request.url()}: ${reason}`);
  });
  return said;
}

/** Waits until all of the network was read and a tensor is shown with its figures. */
export async function untilShown(page: Page): Promise<void> {
  await page.waitForFunction(() => window.compressa?.summarized && window.compressa.tensor?.figures?.exact === true, {
    timeout: 120_000,
  });
}
