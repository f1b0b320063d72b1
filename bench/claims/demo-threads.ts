import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build, preview } from 'vite';
import { launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';
import type { Felt } from '../demo-threads/page.ts';

const ROUNDS = 3;

/** Why the demo has its engine on the page's thread: what that costs the page, beside a worker. Measure it on an idle machine. */
export const claim: Claim = {
  name: 'demo threads',
  async measure() {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-threads-'));
    const common = { configFile: false, logLevel: 'error', root: resolve('bench/demo-threads') } as const;
    const engine = { plugins: [wgsl()], resolve: { alias: { compressa: resolve('src/index.ts') } } };
    await build({
      ...common,
      ...engine,
      worker: { format: 'es', plugins: () => [wgsl()] },
      publicDir: resolve(SAMPLE_MODEL),
      build: { outDir: folder, emptyOutDir: true },
    });
    const server = await preview({
      ...common,
      appType: 'mpa',
      build: { outDir: folder },
      preview: { host: '127.0.0.1', port: 0 },
    });
    const browser = await launchBrowser({ timeout: 200_000 });
    try {
      const felt: Record<'page' | 'worker', Felt[]> = { page: [], worker: [] };
      for (let round = 0; round < ROUNDS; round++) {
        for (const where of ['page', 'worker'] as const) {
          const page = await browser.newPage();
          await page.goto(server.resolvedUrls!.local[0]!);
          felt[where].push(await page.evaluate((on) => window.compressOn!(on), where));
          await page.close();
        }
      }
      const [page, worker] = [summaryOf(felt.page), summaryOf(felt.worker)];
      return [
        {
          claim: 'the sample model is pruned 2:4 and compressed to q4_0: in a worker it takes',
          threshold: 'what one would move there for: no less than 0.8 of the time on the page',
          measured: `${(worker.took / page.took).toFixed(2)} of ${(page.took / 1000).toFixed(1)} s`,
          pass: worker.took > 0.8 * page.took,
        },
        {
          claim: "99% of the page's turns wait at most, beside a worker",
          threshold: 'on the page at most 50 ms',
          measured: `${page.wait.toFixed(1)} ms on the page, ${worker.wait.toFixed(1)} ms with a worker`,
          pass: page.wait <= 50,
        },
        {
          claim: "the page's longest task, beside a worker",
          threshold: 'on the page at most 200 ms',
          measured: `${page.longest} on the page, ${worker.longest} with a worker`,
          pass: felt.page.every(({ longTasks }) => longTasks.every((task) => task <= 200)),
        },
      ];
    } finally {
      await browser.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

function summaryOf(felt: readonly Felt[]) {
  const turns = felt.flatMap((one) => one.turns).sort((a, b) => a - b);
  const longest = Math.max(0, ...felt.flatMap(({ longTasks }) => longTasks));
  return {
    took: felt.map(({ took }) => took).sort((a, b) => a - b)[Math.floor(felt.length / 2)]!,
    wait: turns[Math.floor(0.99 * turns.length)]!,
    longest: longest === 0 ? 'none above 50 ms' : `${longest.toFixed(0)} ms`,
  };
}
