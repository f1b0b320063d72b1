import axe from 'axe-core';
import type { Page } from 'puppeteer-core';
import { openDemo, serveDemo, untilShown } from '../../demo/build/served-demo.ts';
import type { Claim, Measurement } from '../claim.ts';
import { consoleWords } from '../console-words.ts';

/** Of panning, zooming and turning knobs: seconds and compressions at least, and seconds at most. */
const PLAY = { seconds: 15, compressions: 3, most: 150 } as const;
const SIDE = 4096;

/**
 * The demo in headless Chromium on SwiftShader: how soon it shows the sample model, that the page stays free while the model compresses, how little is read
 * back while one plays with a matrix of 4096 x 4096, and that everyone can use it. Measure it on an idle machine, a part at a time: `view`, `tasks`, `axe`,
 * `read`.
 */
export const claim: Claim = {
  name: 'demo page',
  async *measure(_, takes) {
    const served = await serveDemo();
    try {
      if (takes('view')) {
        // Once to warm the server and the disk; another browser has compiled nothing.
        const { browser, page } = await openDemo(served.url);
        await untilShown(page);
        await browser.close();
      }
      const started = performance.now();
      const { browser, page, said } = await openDemo(served.url);
      try {
        await page.waitForFunction(
          () => window.compressa?.tensor?.figures && document.querySelectorAll('#map .tensor').length > 0,
        );
        const seconds = (performance.now() - started) / 1000;
        await untilShown(page);
        if (takes('view')) {
          yield {
            claim: 'first view of the sample model on SwiftShader, the start of the browser included',
            threshold: 'under 10 s',
            measured: `${seconds.toFixed(1)} s`,
            pass: seconds < 10,
          };
        }
        if (takes('tasks')) yield await longTasks(page);
        if (takes('axe')) yield* await findings(page);
        if (takes('read')) yield await readBacks(page);
        yield consoleWords(said);
      } finally {
        await browser.close();
      }
    } finally {
      await served.close();
    }
  },
};

/** The browser's own entries of long tasks while the whole model compresses. */
async function longTasks(page: Page): Promise<Measurement> {
  const { longest, tasks, control } = await page.evaluate(async () => {
    const found: number[] = [];
    new PerformanceObserver((list) => found.push(...list.getEntries().map(({ duration }) => duration))).observe({
      type: 'longtask',
    });
    // A task that is long on purpose: that the browser tells of it is what the rest of the measurement stands on.
    await new Promise<void>((done) =>
      setTimeout(() => {
        const until = performance.now() + 120;
        while (performance.now() < until);
        done();
      }),
    );
    await new Promise((done) => setTimeout(done, 500));
    const control = Math.max(0, ...found.splice(0));
    const app = window.compressa!;
    const recipe = {
      version: 1,
      rules: [{ match: '*', role: 'linear', format: 'q4_k', prune: { pattern: '2:4' } }],
    } as const;
    app.store.set({ page: 'model', recipe: structuredClone(recipe) as never });
    document.querySelector<HTMLButtonElement>('#compress')!.click();
    while (!app.model.compressed || document.querySelector<HTMLButtonElement>('#compress')!.disabled) {
      await new Promise((done) => setTimeout(done, 100));
    }
    await new Promise((done) => setTimeout(done, 500));
    return { longest: Math.max(0, ...found), tasks: found.length, control };
  });
  return {
    claim: "the longest task on the page's thread while the sample model is pruned 2:4 and compressed to q4_k",
    threshold: 'at most 200 ms',
    measured: `${longest.toFixed(0)} ms, of ${tasks} tasks over 50 ms; one of 120 ms that is made on purpose is seen with ${control.toFixed(0)} ms`,
    pass: longest <= 200 && control >= 120,
  };
}

async function findings(page: Page): Promise<Measurement[]> {
  await page.evaluate(axe.source);
  const results: Measurement[] = [];
  const views = [
    { page: 'tensor', panel: 'microscope' },
    { page: 'tensor', panel: 'landscape' },
    { page: 'tensor', panel: 'histogram' },
    { page: 'tensor', panel: 'spectrum' },
    { page: 'model' },
  ] as const;
  for (const view of views) {
    await page.evaluate((to) => window.compressa!.store.set(to), view);
    const found = await page.evaluate(async () => {
      const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(document, { iframes: false });
      return violations.map(({ id, impact }) => ({ id, impact: String(impact) }));
    });
    const serious = found.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    results.push({
      claim: `axe-core on ${'panel' in view ? view.panel : 'the whole model'}`,
      threshold: 'no serious finding',
      measured: found.length === 0 ? 'none' : found.map(({ id, impact }) => `${impact}: ${id}`).join(', '),
      pass: serious.length === 0,
    });
  }
  return results;
}

/** Bytes that come back from the GPU while one pans, zooms, points at weights and turns knobs on a large matrix. */
async function readBacks(page: Page): Promise<Measurement> {
  await page.evaluate(async (side) => {
    const header = JSON.stringify({ large: { dtype: 'F16', shape: [side, side], data_offsets: [0, 2 * side * side] } });
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    const length = new BigUint64Array([BigInt(padded.length)]);
    const weights = new Uint16Array(side * side);
    // f16 between 2^-8 and 2^-4, signs by turns, of a counter that is mixed.
    for (let i = 0; i < weights.length; i++)
      weights[i] = 0x1c00 + ((Math.imul(i, 2654435761) >>> 20) & 0x0fff) + ((i & 1) << 15);
    const file = new File([length, padded, weights], 'large.safetensors');
    const transfer = new DataTransfer();
    transfer.items.add(file);
    window.compressa!.store.set({
      page: 'tensor',
      panel: 'microscope',
      knobs: { format: 'keep', pattern: '', rank: 0 },
    });
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }));
  }, SIDE);
  await page.waitForFunction(
    (side) =>
      window.compressa!.network?.input.name === 'large.safetensors' &&
      window.compressa!.tensor?.k === side &&
      window.compressa!.summarized,
    { timeout: 120_000 },
    SIDE,
  );
  await page.waitForFunction(() => window.compressa!.tensor?.figures?.exact, { timeout: 60_000 });
  const canvas = (await (await page.$('#microscope-canvas'))!.boundingBox())!;
  const counters = () =>
    page.evaluate(() => ({
      ...window.compressa!.gpu!.counters,
      version: window.compressa!.tensor!.version,
      frames: window.compressa!.microscope.frames,
    }));
  const before = await counters();
  const started = performance.now();
  const played = async () => {
    const seconds = (performance.now() - started) / 1000;
    if (seconds < PLAY.seconds) return false;
    return seconds > PLAY.most || (await counters()).version - before.version >= PLAY.compressions;
  };
  for (let turn = 0; !(await played()); turn++) {
    const format = ['q4_0', 'q8_0', 'keep'][turn % 3]!;
    const knobs = { format, method: 'rtn' as const, pattern: `${20 + (turn % 50)}%`, rank: 0 };
    await page.evaluate((to) => window.compressa!.store.set({ knobs: to }), knobs);
    const at = (i: number) => canvas.x + canvas.width * (0.2 + 0.6 * ((turn * 7 + i) % 10) * 0.1);
    await page.mouse.move(at(0), canvas.y + canvas.height / 2);
    await page.mouse.wheel({ deltaY: turn % 8 < 4 ? -200 : 200 });
    await page.mouse.down();
    await page.mouse.move(at(3), canvas.y + canvas.height / 3);
    await page.mouse.up();
  }
  const seconds = (performance.now() - started) / 1000;
  const after = await counters();
  const rate = (after.readBackBytes - before.readBackBytes) / seconds;
  const done = `${((after.frames - before.frames) / seconds).toFixed(0)} frames and ${((after.version - before.version) / seconds).toFixed(1)} compressions a second`;
  return {
    claim: `read back from the GPU while one pans, zooms and drags knobs on a matrix of ${SIDE} x ${SIDE}, ${done}`,
    threshold: 'under 64 KB/s',
    measured: `${(rate / 1000).toFixed(1)} KB/s`,
    pass: rate < 64_000 && after.frames > before.frames && after.version > before.version,
  };
}
