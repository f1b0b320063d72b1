import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'puppeteer-core';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll } from 'vitest';
import { findBrowser, launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';

/** The sample model, whose files the server has beside the page. */
export const SAMPLE = 'models/union-7m';

/**
 * Builds the page in `test/e2e/<name>`, serves it and opens it in a headless browser, for all tests of a file.
 * @param answer most milliseconds for one question to the page, below the test's own limit: this error says more
 */
export function openServedPage(name: string, answer: number) {
  let folder: string | undefined;
  let server: PreviewServer | undefined;
  let browser: Browser | undefined;
  let page: Page | undefined;
  /** The last things that the page said. */
  const said: string[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'compressa-browser-'));
    const common = { configFile: false, logLevel: 'warn', root: join(import.meta.dirname, name) } as const;
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
    browser = await launchBrowser({ timeout: answer });
    page = await browser.newPage();
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(String(error)));
    page.on('requestfailed', (request) => said.push(`${request.url()}: ${request.failure()?.errorText}`));
    await page.goto(server.resolvedUrls!.local[0]!, { timeout: 120_000 });
  });

  afterAll(async () => {
    // A browser that hangs does not answer; its process ends anyway.
    const closed = browser?.close().then(() => true);
    const hung = new Promise<boolean>((resolve) => setTimeout(resolve, 10_000, false).unref());
    if (closed && !(await Promise.race([closed, hung]))) browser?.process()?.kill('SIGKILL');
    await server?.close();
    if (folder) await rm(folder, { recursive: true, force: true });
  });

  return {
    get page(): Page {
      return page!;
    },
    get url(): string {
      return server!.resolvedUrls!.local[0]!;
    },
    /** Gone after the tests. */
    get folder(): string {
      return folder!;
    },
    /** Waits for an answer of the page, and says where it was if it fails, crashes or hangs. */
    async ask<T>(question: Promise<T>): Promise<T> {
      const crashed = new Promise<never>((_, reject) => {
        page!.once('error', reject);
        browser!.once('disconnected', () => reject(new Error('The browser is gone.')));
      });
      try {
        return await Promise.race([question, crashed]);
      } catch (cause) {
        const { path, origin } = await findBrowser();
        const last = said.slice(-5).join('\n  ') || 'nothing';
        throw new Error(`${String(cause)}\nThe browser was ${path} (${origin}); the page last said:\n  ${last}`, {
          cause,
        });
      }
    },
  };
}
