// Opens the page with the peers in a headless browser. `npm run peers` installs them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'puppeteer-core';
import { build, preview } from 'vite';
import { launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';
import { installedPeers, servePeers } from './serve.ts';

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url));
/** What the page and the examples import by the names of packages: the sources, and the scripts that the page has. */
const ALIASES = {
  compressa: pathOf('../../src/index.ts'),
  'onnxruntime-web/webgpu': pathOf('./ort-module.ts'),
  '@tensorflow/tfjs-core': pathOf('./tf-module.ts'),
  '@tensorflow/tfjs-backend-webgpu': pathOf('./tf-module.ts'),
};

export interface PeersPage {
  readonly page: Page;
  /** The last things that the page said. */
  said(): string;
  close(): Promise<void>;
}

/**
 * The page, or what to do about the peers' absence.
 * @param answer most milliseconds for one question to the page
 * @param onSaid is told what the page says, such as the stages of a long answer, as it comes
 */
export async function openPeersPage(
  answer: number,
  onSaid: (text: string) => void = () => {},
): Promise<PeersPage | string> {
  const [absent] = installedPeers().absent;
  if (absent) return `${absent.name}: ${absent.reason}`;
  const folder = await mkdtemp(join(tmpdir(), 'compressa-peers-'));
  const common = { configFile: false, logLevel: 'error', root: import.meta.dirname } as const;
  await build({
    ...common,
    plugins: [wgsl()],
    resolve: { alias: ALIASES },
    build: { outDir: folder, emptyOutDir: true, minify: false },
  });
  const server = await preview({
    ...common,
    appType: 'mpa',
    plugins: [servePeers()],
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0 },
  });
  const browser = await launchBrowser({ timeout: answer });
  const page = await browser.newPage();
  const said: string[] = [];
  const say = (text: string) => {
    said.push(text);
    onSaid(text);
  };
  page.on('console', (message) => say(message.text()));
  page.on('pageerror', (error) => say(String(error)));
  page.on('requestfailed', (request) => say(`${request.url()}: ${request.failure()?.errorText}`));
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
