import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Page } from 'puppeteer-core';
import { build, preview } from 'vite';
import { openDemo, serveDemo } from '../../demo/build/served-demo.ts';
import type { Knobs } from '../../demo/src/view-state.ts';
import { launchBrowser } from '../../tools/browser.ts';
import { wgsl } from '../../tools/wgsl-plugin.ts';
import type { Claim, Measurement } from '../claim.ts';
import { consoleWords } from '../console-words.ts';
import type {} from '../demo-equal/page.ts';
import { random } from '../random.ts';

/** Rows of whole blocks of every format, and a number of rows that no kernel takes at once. */
const [NAME, ROWS, K] = ['a.weight', 44, 768];

const PLAIN: Knobs = { format: 'keep', pattern: '', rank: 0 };
/** As the controls write them: of each kind, also with remainders; whole columns and rows at last. */
const PATTERNS = ['2:4', '1:4', '3:7', '8:16', '2:4x4', '50%', '37%@row', 'block:16x16:40%', 'block:3x7:25%'];
const LINES = [`block:${ROWS}x1:30%`, `block:1x${K}:30%`];
const AFTER_PRUNING = ['q4_0', 'q4_k', 'int3-g64-asym', 'int4-g64-fzp', 'e4m3-g128', 'f16'];
const PACKED = ['keep', 'q8_0', 'q4_0', 'int4-g64-asym', 'mxfp4'];
const RANKS = [1, 7, 32];

/** What is compared of a tensor. */
interface Shown {
  readonly weights: string;
  readonly error: number;
  readonly bytes: number;
  /** Undefined where nothing is pruned. */
  readonly mask: readonly number[] | undefined;
}

/**
 * What the demo shows of a tensor beside what the library writes by the same recipe: weights, masks, errors and sizes, bit for bit, by every format and method that the
 * page offers, by patterns, packed ones too, and by factors. The library runs on a page of its own in another headless Chromium, both on SwiftShader.
 * Parts: `formats`, or the name of one, `patterns`, `ranks`.
 */
export const claim: Claim = {
  name: 'demo equal',
  async *measure(_, takes) {
    const served = await serveDemo();
    const { browser, page, said } = await openDemo(served.url);
    const library = await openLibrary();
    try {
      await open(
        page,
        await library.page.evaluate((...file) => window.library!.take(...file), NAME, ROWS, K, weights()),
      );
      const offered = await library.page.evaluate(() => window.library!.offered());
      const formats = offered.filter(({ format }) => takes('formats') || takes(format));
      if (formats.length > 0) {
        const some = formats.length < offered.length ? `${formats.length} of the ` : 'all ';
        yield await equal(
          `${some}${offered.length} formats and methods that the page offers`,
          formats,
          page,
          library.page,
        );
      }
      if (takes('patterns')) {
        const pruned = [...PATTERNS, ...LINES].map((pattern) => ({ ...PLAIN, pattern }));
        yield await equal('patterns', pruned, page, library.page);
        const rounded = pruned.flatMap((knobs) => AFTER_PRUNING.map((format) => ({ ...knobs, format })));
        yield await equal('patterns before formats', rounded, page, library.page);
        const packed = ['2:4', '8:16', '2:4x4'].flatMap((pattern) =>
          PACKED.map((format) => ({ ...PLAIN, format, pattern, packed: true })),
        );
        yield await equal('packed patterns', packed, page, library.page);
      }
      if (takes('ranks')) {
        const factors = [...RANKS.map((rank) => ({ ...PLAIN, rank })), { ...PLAIN, rank: 32, format: 'q8_0' }];
        yield await equal('factors', factors, page, library.page);
      }
      yield consoleWords(said);
    } finally {
      await library.close();
      await browser.close();
      await served.close();
    }
  },
};

/** Some outliers, and no zero: what is zero afterwards was pruned, or rounded. */
function weights(): number[] {
  const next = random(11);
  return Array.from({ length: ROWS * K }, () => (next() - next()) * (next() < 0.02 ? 0.3 : 0.05) || 0.01);
}

async function openLibrary() {
  const folder = await mkdtemp(join(tmpdir(), 'compressa-equal-'));
  const common = { configFile: false, logLevel: 'error', root: resolve('bench/demo-equal') } as const;
  await build({ ...common, plugins: [wgsl()], build: { outDir: folder, emptyOutDir: true } });
  const server = await preview({
    ...common,
    appType: 'mpa',
    build: { outDir: folder },
    preview: { host: '127.0.0.1', port: 0 },
  });
  const browser = await launchBrowser({ timeout: 240_000 });
  const page = await browser.newPage();
  await page.goto(server.resolvedUrls!.local[0]!);
  return {
    page,
    async close() {
      await browser.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Opens a model of one tensor on the page, which may still be opening the device. @param file in base64 */
async function open(page: Page, file: string): Promise<void> {
  await page.evaluate((text) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'a.safetensors'));
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }));
  }, file);
  await page.waitForFunction((name) => window.compressa?.tensor?.entry.name === name, { timeout: 60_000 }, NAME);
}

async function equal(what: string, all: readonly Knobs[], page: Page, library: Page): Promise<Measurement> {
  const counts = { weights: 0, masks: 0, errors: 0, sizes: 0 };
  let pruned = 0;
  const other: string[] = [];
  const masks = new Map<string, readonly number[]>();
  for (const knobs of all) {
    const here = await library.evaluate((to) => window.library!.make(to), knobs);
    const there = await onThePage(page, knobs);
    const same = {
      weights: here.weights === there.weights,
      errors: here.error === there.error,
      sizes: here.bytes === there.bytes,
      masks: true,
    };
    const { pattern } = knobs;
    if (pattern) {
      pruned++;
      // Of what is not rounded, where a weight might become zero as well.
      const wanted =
        masks.get(pattern) ?? (await library.evaluate((to) => window.library!.make(to), { ...PLAIN, pattern })).left;
      masks.set(pattern, wanted);
      same.masks = wanted.length === there.mask?.length && wanted.every((word, i) => word === there.mask![i]);
      counts.masks += Number(same.masks);
    }
    counts.weights += Number(same.weights);
    counts.errors += Number(same.errors);
    counts.sizes += Number(same.sizes);
    if (!Object.values(same).every(Boolean)) {
      other.push(`${Object.values(knobs).join(' ')} (error ${there.error}, the library ${here.error})`);
    }
  }
  const figures = [
    ...(['weights', 'errors', 'sizes'] as const).map((name) => `${name} ${counts[name]} of ${all.length}`),
    ...(pruned > 0 ? [`masks ${counts.masks} of ${pruned}`] : []),
  ];
  return {
    claim: `${what}, on the page and by the library, bit for bit`,
    threshold: 'all are equal',
    measured: [figures.join(', '), ...other].join('; other: '),
    pass: all.length > 0 && other.length === 0,
  };
}

/** Turns the page's knobs, and reads the tensor and its mask from the page's own buffers when the knobs have come to rest. */
async function onThePage(page: Page, knobs: Knobs): Promise<Shown> {
  await page.evaluate((to) => window.compressa!.store.set({ knobs: to }), knobs);
  const rests = (to: Knobs) => {
    const figures = window.compressa!.tensor?.figures;
    // The page's own controls may have written the same knobs in another order.
    const { format, method, pattern, packed = false, rank } = figures?.knobs ?? to;
    const same = [format, method, pattern, packed, rank].every(
      (value, i) => value === [to.format, to.method, to.pattern, to.packed ?? false, to.rank][i],
    );
    return figures?.exact && same;
  };
  await page.waitForFunction(rests, { timeout: 180_000 }, knobs).catch((cause: unknown) => {
    throw new Error(`The page does not come to rest with ${JSON.stringify(knobs)}.`, { cause });
  });
  return page.evaluate(async () => {
    const { gpu, tensor } = window.compressa!;
    const { after, mask, masked, rows, k } = tensor!;
    const read = await gpu!.readBack(after.buffer, after.offset ?? 0, 4 * rows * k);
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', read as Uint8Array<ArrayBuffer>));
    const bits = masked && (await gpu!.readBack(mask.buffer, mask.offset ?? 0, 4 * rows * Math.ceil(k / 32)));
    return {
      weights: Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join(''),
      error: tensor!.figures!.error,
      bytes: tensor!.figures!.bytes.stored,
      mask: bits ? [...new Uint32Array(bits.buffer)] : undefined,
    };
  });
}
