// Pictures of the main views, light and dark, on a desk and on a phone: `npx tsx demo/screenshots.ts <folder> [parts of names, as model-desk,landscape]`. Those of the README are
// written anew where they are.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openDemo, serveDemo, untilShown } from './build/served-demo.ts';
import type { ViewState } from './src/view-state.ts';

const [folder = 'out/demo-pictures', wantedParts = ''] = process.argv.slice(2);
const parts = wantedParts.split(',');
const TENSOR = 'model.layers.1.mlp.down_proj.weight';
const Q4 = { format: 'q4_0', pattern: '2:4', rank: 0 };

const VIEWS: Readonly<Record<string, Partial<ViewState>>> = {
  microscope: { tensor: TENSOR, knobs: { format: 'keep', pattern: 'block:16x16:40%', rank: 0 }, shown: 'magnitude' },
  weights: { tensor: TENSOR, knobs: Q4, place: { column: 384, row: 128, zoom: 24 } },
  error: { tensor: TENSOR, knobs: { format: 'int3-g64-asym', pattern: '', rank: 0 }, shown: 'error' },
  landscape: {
    tensor: TENSOR,
    panel: 'landscape',
    knobs: { format: 'int4-g64-asym', pattern: '60%', rank: 0 },
    place: { column: 384, row: 128, zoom: 6 },
  },
  histogram: { tensor: TENSOR, panel: 'histogram', knobs: { format: 'q4_0', pattern: '', rank: 0 } },
  spectrum: { tensor: TENSOR, panel: 'spectrum', knobs: { format: 'keep', pattern: '', rank: 64 } },
  model: {
    page: 'model',
    recipe: {
      version: 1,
      rules: [
        { match: '*.mlp.*', format: 'q4_0', prune: { pattern: '2:4' } },
        { match: '*', role: 'linear', format: 'q8_0' },
      ],
    },
  },
};
const README: readonly string[] = ['weights-desk-light', 'landscape-desk-dark', 'microscope-desk-light'];
const SIZES = { desk: [1280, 720], phone: [390, 844] } as const;

await mkdir(folder, { recursive: true });
await mkdir(join(import.meta.dirname, 'pictures'), { recursive: true });
const served = await serveDemo();
try {
  for (const [size, [width, height]] of Object.entries(SIZES)) {
    const wanted = Object.entries(VIEWS).filter(([name]) =>
      [`${name}-${size}-light`, `${name}-${size}-dark`].some((one) => parts.some((part) => one.includes(part))),
    );
    if (wanted.length === 0) continue;
    const { browser, page, said } = await openDemo(served.url, { width, height });
    await untilShown(page);
    for (const [name, view] of wanted) {
      await page.evaluate(
        (to) =>
          window.compressa!.store.set({
            page: 'tensor',
            panel: 'microscope',
            shown: 'weight',
            place: undefined,
            ...to,
          }),
        view,
      );
      if (name === 'model') {
        await page.click('#compress');
        await page.waitForSelector('#write:not(:disabled)', { timeout: 120_000 });
        await page.click('#write');
        await page.waitForFunction(() => window.compressa!.model.rates, { timeout: 120_000 });
      } else {
        await page.waitForFunction(
          (tensor, knobs) =>
            window.compressa!.tensor?.entry.name === tensor &&
            window.compressa!.tensor?.figures?.exact === true &&
            JSON.stringify(window.compressa!.tensor?.figures?.knobs) === knobs,
          { timeout: 60_000 },
          view.tensor ?? '',
          JSON.stringify(view.knobs),
        );
        if (name === 'histogram' || name === 'spectrum')
          await page.waitForSelector(`#${name} svg`, { timeout: 60_000 });
        if (name === 'landscape')
          await page.waitForFunction(() => (window.compressa!.landscape?.frames ?? 0) > 0, { timeout: 60_000 });
      }
      for (const scheme of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
        await new Promise((done) => setTimeout(done, 1500));
        const picture = `${name}-${size}-${scheme}`;
        await page.screenshot({ path: join(folder, `${picture}.png`), fullPage: size === 'phone' });
        if (README.includes(picture)) {
          const path = join(import.meta.dirname, 'pictures', `${name}.webp`) as `${string}.webp`;
          await page.screenshot({ path, type: 'webp', quality: 70 });
        }
      }
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
    }
    for (const complaint of said) console.error(complaint);
    await browser.close();
  }
} finally {
  await served.close();
}
