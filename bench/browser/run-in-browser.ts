import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { build, preview } from 'vite';
import { CancelledError, CompressaError } from '../../src/errors.ts';
import { type LaunchOptions, launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';
import { installedPeers, servePeers } from '../peers-page/serve.ts';
import type { Bench } from '../suite/results-schema.ts';
import type { BenchJob, BenchState } from './page.ts';

/** The clock of a page that is isolated so is exact to 5 µs; of others to 100. */
const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
/** Between two looks at the page, which is busy with the benchmark. */
const LOOK_MILLISECONDS = 500;
/** Most milliseconds for an answer: a page that compiles kernels is slow to give one. */
const ANSWER_MILLISECONDS = 10 * 60_000;

export interface BrowserRun {
  /** Folder of the sample model. */
  readonly model: string;
  readonly launch: Pick<LaunchOptions, 'gpu' | 'headed' | 'flags'>;
  readonly signal: AbortSignal;
  onProgress(done: number, total: number, name: string): void;
}

/**
 * Runs the suites in a browser, headless unless asked otherwise, from a page that is built and served for it.
 * @throws NoDeviceError where there is no browser; what the run throws in it, by its code: `NO_DEVICE` where it has no GPU
 */
export async function runInBrowser(job: Omit<BenchJob, 'environment' | 'peers'>, options: BrowserRun): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-bench-'));
  const common = { configFile: false, logLevel: 'warn', root: import.meta.dirname } as const;
  const closing: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  /** An abort that came before anybody listened. */
  const throwIfCancelled = () => {
    if (options.signal.aborted) throw new CancelledError('The benchmark');
  };
  try {
    throwIfCancelled();
    await build({
      ...common,
      plugins: [wgsl()],
      publicDir: resolve(options.model),
      // The page is read from this machine: one large file will do.
      build: { outDir: folder, emptyOutDir: true, chunkSizeWarningLimit: 10_000 },
    });
    throwIfCancelled();
    // `mpa`: a file that is missing is missing, not the page once more.
    const server = await preview({
      ...common,
      appType: 'mpa',
      plugins: [servePeers()],
      build: { outDir: folder },
      preview: { host: '127.0.0.1', port: 0, headers: ISOLATED },
    });
    closing.push(() => server.close());
    throwIfCancelled();
    const browser = await launchBrowser({ ...options.launch, timeout: ANSWER_MILLISECONDS });
    closing.push(() => browser.close());
    const page = await browser.newPage();
    await page.goto(server.resolvedUrls!.local[0]!, { timeout: 120_000 });
    const environment = await browser.version();
    throwIfCancelled();
    const { present: peers, absent: absentPeers } = installedPeers();
    await page.evaluate((given) => window.startBench(given), { ...job, environment, peers, absentPeers });
    const cancel = () => void page.evaluate(() => window.cancelBench()).catch(() => {});
    options.signal.addEventListener('abort', cancel, { once: true });
    for (;;) {
      await wait(LOOK_MILLISECONDS);
      const { done, total, name, bench, error }: BenchState = await page.evaluate(() => window.benchState());
      if (error) throw errorOf(error);
      if (bench) return bench;
      options.onProgress(done, total, name);
    }
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** What the page said, as the error that it was there. */
class BrowserError extends CompressaError {
  readonly code: string;
  constructor(code: string, message: string) {
    super(`In the browser: ${message}`);
    this.code = code;
  }
}

const errorOf = ({ code, message }: { code: string; message: string }): Error => {
  if (code === 'CANCELLED') return new CancelledError('The benchmark');
  return code === '' ? new Error(`In the browser: ${message}`) : new BrowserError(code, message);
};
