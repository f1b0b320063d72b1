// Opens the page with the peers in a headless browser. `npm run peers` installs them.
import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'puppeteer-core';
import { build, type Plugin, preview } from 'vite';
import { launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';

const MODULES = fileURLToPath(new URL('../peers/node_modules', import.meta.url));
const ENGINE = fileURLToPath(new URL('../../src/index.ts', import.meta.url));
const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

export interface PeersPage {
  readonly page: Page;
  /** The last things that the page said. */
  said(): string;
  close(): Promise<void>;
}

/** The packages of the peers under `/peers/`, as they are. */
const peersOf = (modules: string): Plugin => ({
  name: 'peers',
  configurePreviewServer(server) {
    server.middlewares.use('/peers/', (request, response, next) => {
      const file = join(modules, new URL(request.url!, 'http://localhost').pathname);
      const type = TYPES[extname(file)];
      if (!type || !file.startsWith(modules + sep) || !existsSync(file)) return next();
      response.setHeader('content-type', type);
      createReadStream(file).pipe(response);
    });
  },
});

/**
 * The page, or what to do about the peers' absence.
 * @param answer most milliseconds for one question to the page
 */
export async function openPeersPage(answer: number): Promise<PeersPage | string> {
  for (const name of ['onnxruntime-web', '@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu']) {
    if (!existsSync(join(MODULES, name))) return `${name} is not installed: npm run peers`;
  }
  const folder = await mkdtemp(join(tmpdir(), 'compressa-peers-'));
  const common = { configFile: false, logLevel: 'error', root: import.meta.dirname } as const;
  await build({
    ...common,
    plugins: [wgsl()],
    resolve: { alias: { compressa: ENGINE } },
    build: { outDir: folder, emptyOutDir: true, minify: false },
  });
  const server = await preview({
    ...common,
    appType: 'mpa',
    plugins: [peersOf(MODULES)],
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0 },
  });
  const browser = await launchBrowser({ timeout: answer });
  const page = await browser.newPage();
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('requestfailed', (request) => said.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(server.resolvedUrls!.local[0]!, { timeout: 60_000 });
  return {
    page,
    said: () => said.slice(-5).join('\n'),
    async close() {
      await browser.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
