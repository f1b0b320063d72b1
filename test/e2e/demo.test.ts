import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import axe from 'axe-core';
import type { Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  listenTo,
  type OpenedDemo,
  openDemo,
  type ServedDemo,
  serveDemo,
  untilShown,
} from '../../demo/build/served-demo.ts';
import type { Knobs } from '../../demo/src/view-state.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import { memorySource } from '../../src/files/source.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { selectMasks } from '../../src/kernels/reference/select-mask.ts';
import { compress } from '../../src/passes/compress.ts';
import { encodeText } from '../../src/passes/encode-text.ts';
import { parsePattern } from '../../src/passes/pruning/pruning.ts';
import type { Recipe } from '../../src/passes/recipe.ts';
import { checkWeight, findWeight, readValues } from '../../src/passes/stored-weight.ts';
import { cutWindows } from '../../src/passes/windows.ts';
import { openTestGpu } from '../gpu/open-test-gpu.ts';
import { SAMPLE } from './served-page.ts';

const TENSOR = 'model.layers.1.mlp.down_proj.weight';
const [ROWS, K] = [256, 768];

const UNTOUCHED: Knobs = { format: 'keep', pattern: '', rank: 0 };
/** Compresses one tensor: what files are made of that only have to be opened. */
const ONE: Recipe = { version: 1, rules: [{ match: TENSOR, format: 'q4_0' }] };

let served: ServedDemo;
let demo: OpenedDemo;
let gpu: Gpu;
let folder: string;

beforeAll(async () => {
  [gpu, folder] = await Promise.all([openTestGpu(), mkdtemp(join(tmpdir(), 'compressa-dropped-'))]);
  served = await serveDemo();
  demo = await openDemo(served.url);
});

afterAll(async () => {
  await demo?.browser.close();
  await served?.close();
  gpu?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** The tensor's values before and after, and its mask, as the page's own buffers hold them. */
async function buffersOf(page: Page) {
  const texts = await page.evaluate(async () => {
    const { gpu, tensor } = window.compressa!;
    const read = async ({ buffer, size }: { buffer: GPUBuffer; size?: number }) => {
      const bytes = await gpu!.readBack(buffer, 0, size);
      return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
    };
    return [await read(tensor!.before), await read(tensor!.after), await read(tensor!.mask)].map(btoa);
  });
  const [before, after, mask] = texts.map((text) => new Uint8Array(Buffer.from(text, 'base64')).buffer);
  return { before: new Float32Array(before!), after: new Float32Array(after!), mask: new Uint32Array(mask!) };
}

/** Compresses the tensor by these knobs, and waits for its exact figures. */
async function turn(page: Page, tensor: string, knobs: Knobs): Promise<{ error: number; zeros: readonly number[] }> {
  await page.evaluate((name, to) => window.compressa!.store.set({ tensor: name, knobs: to }), tensor, knobs);
  const handle = await page.waitForFunction(
    (name, to) => {
      const { tensor, figures } = { tensor: window.compressa!.tensor, figures: window.compressa!.tensor?.figures };
      if (tensor?.entry.name !== name || !figures?.exact) return false;
      return JSON.stringify(figures.knobs) === JSON.stringify(to) && { error: figures.error, zeros: figures.zeros };
    },
    { timeout: 60_000 },
    tensor,
    knobs,
  );
  return (await handle.jsonValue()) as { error: number; zeros: readonly number[] };
}

/** How many colours an element shows, and a picture of it. */
async function pictureOf(page: Page, id: string): Promise<{ colours: number; bytes: string }> {
  const element = await page.$(`#${id}`);
  const bytes = (await element!.screenshot({ encoding: 'base64' })) as string;
  const colours = await page.evaluate(async (png) => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext('2d')!;
    context.drawImage(image, 0, 0);
    return new Set(new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer)).size;
  }, bytes);
  return { colours, bytes };
}

test('opens the sample model from a sub-path, and shows its tensors', async () => {
  await untilShown(demo.page);
  expect(await demo.page.$$eval('#map [role=option]', (all) => all.length)).toBe(74);
  expect(await demo.page.$eval('#model-size', (element) => element.textContent)).toMatch(
    /7,\d{3},\d{3} weights, 14\.7 MB/,
  );
  expect(await demo.page.$eval('#map [aria-selected=true]', (element) => element.getAttribute('aria-label'))).toMatch(
    /down_proj.*256 × 768, f16, 393 kB; magnitude: 0\.0/,
  );
});

test('prunes 2:4 and quantizes the selected tensor: mask and weights are those of the references, bit for bit', async () => {
  const { page } = demo;
  await page.click(`#map [data-name="${TENSOR}"]`);
  await turn(page, TENSOR, UNTOUCHED);
  const plain = await pictureOf(page, 'microscope-canvas');
  expect(plain.colours).toBeGreaterThan(100);

  // By the control itself, as a visitor does it.
  await page.select('#knobs select[aria-label=pattern]', await optionOf(page, 'pattern', 'N of M in a row'));
  const { zeros } = await turn(page, TENSOR, { format: 'keep', pattern: '2:4', rank: 0 });
  expect(zeros[1]).toBe(0.5);
  const weights = await valuesIn(await nodeFolder(SAMPLE));
  const pruned = await buffersOf(page);
  expect(pruned.before).toEqual(weights);
  const [reference] = selectMasks([{ weights, rows: ROWS, k: K }], parsePattern('2:4'));
  expect(pruned.mask.slice(0, (ROWS * K) / 32)).toEqual(reference);
  const masked = await pictureOf(page, 'microscope-canvas');
  expect(masked.bytes).not.toBe(plain.bytes);

  await turn(page, TENSOR, { format: 'q4_0', method: 'rtn', pattern: '2:4', rank: 0 });
  const kept = weights.map((weight, i) => ((reference![Math.floor(i / 32)]! >>> (i % 32)) & 1 ? weight : 0));
  const { quantize, dequantize } = formatByName('q4_0').reference;
  expect((await buffersOf(page)).after).toEqual(dequantize(quantize(kept, ROWS, K), ROWS, K));
});

/** The value of the option of a knob that says `text`. */
const optionOf = (page: Page, knob: string, text: string): Promise<string> =>
  page.$$eval(
    `#knobs select[aria-label="${knob}"] option`,
    (all, wanted) => (all as HTMLOptionElement[]).find((option) => option.textContent === wanted)!.value,
    text,
  );

test('compresses the whole model by the library, to the same bytes and errors; both write; a report follows', async () => {
  const { page } = demo;
  const { error } = await turn(page, TENSOR, { format: 'keep', pattern: '2:4', rank: 0 });
  const recipe: Recipe = {
    version: 1,
    rules: [
      { match: TENSOR, format: 'keep', prune: { pattern: '2:4' } },
      { match: 'model.layers.0.*', role: 'linear', format: 'q4_0' },
    ],
  };
  await page.evaluate((to) => window.compressa!.store.set({ page: 'model', recipe: to as never }), recipe);
  await page.click('#compress');
  await page.waitForSelector('#downloads a[download="model.safetensors"]', { timeout: 120_000 });
  const report = await page.evaluate(() => window.compressa!.model.compressed!.report);
  expect(report.tensors.find(({ name }) => name === TENSOR)!.prune).toMatchObject({ sparsity: 0.5, error });

  const downloaded = await page.$eval('#downloads a[download="model.safetensors"]', async (link) => {
    const bytes = new Uint8Array(await (await fetch((link as HTMLAnchorElement).href)).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
  });
  const output = memoryOutput();
  await compress(await nodeFolder(SAMPLE), output, { gpu, recipe });
  expect(Buffer.from(downloaded, 'base64').equals(output.files.get('model.safetensors')!)).toBe(true);
  const config = await readFile(`${SAMPLE}/config.json`);
  const again = await openCheckpoint(
    memoryFolder('downloaded', { 'model.safetensors': Buffer.from(downloaded, 'base64'), 'config.json': config }),
  );
  expect(again.tree?.weights.size).toBe(7);
  await again.close();

  await page.waitForSelector('#write:not(:disabled)');
  await page.$eval('#tokens', (input) => {
    (input as HTMLInputElement).value = '12';
  });
  await page.click('#write');
  await page.waitForFunction(() => window.compressa!.model.rates !== undefined, { timeout: 120_000 });
  const texts = await page.$$eval('#written p', (all) => all.map((one) => one.textContent ?? ''));
  expect(texts).toHaveLength(2);
  for (const text of texts) expect(text).toMatch(/^My fellow citizens\W.*\w+ \w+ \w+/s);

  await page.$eval('#windows', (input) => {
    (input as HTMLInputElement).value = '1';
  });
  await page.$eval('#model-page input[type=checkbox]', (input) => (input as HTMLInputElement).click());
  await page.waitForSelector('#verify:not(:disabled)');
  await page.click('#verify');
  await page.waitForSelector('#downloads a[download="report.html"]', { timeout: 240_000 });
  const verified = await page.evaluate(() => window.compressa!.model.report!);
  expect(verified.checks.filter(({ passed }) => !passed)).toEqual([]);
  expect(verified.accuracy!.perplexity.compressed! / verified.accuracy!.perplexity.original).toBeLessThan(1.2);
  expect(await page.$eval('#report iframe', (frame) => (frame as HTMLIFrameElement).srcdoc)).toContain('<svg');
});

test('a method that looks at inputs is given the calibration text of the sample model', async () => {
  const { page } = demo;
  const name = 'model.layers.0.self_attn.k_proj.weight';
  const recipe: Recipe = { version: 1, rules: [{ match: name, format: 'int4-g32', method: 'gptq' }] };
  await page.evaluate((to) => window.compressa!.store.set({ page: 'model', recipe: to as never }), recipe);
  await page.click('#compress');
  await page.waitForFunction(() => window.compressa!.model.compressed?.report.recipe.rules[0]?.method === 'gptq', {
    timeout: 120_000,
  });
  await page.waitForSelector('#compress:not(:disabled)');
  const { tensors } = await page.evaluate(() => window.compressa!.model.compressed!.report);
  const { chosen, rtn } = tensors.find((tensor) => tensor.name === name)!.error!;
  // Without the inputs, or with those of another matrix, rounding to nearest would be taken.
  expect(chosen).toBeLessThan(0.9 * rtn);
  const text = await readFile(`${SAMPLE}/calibration.txt`, 'utf8');
  const checkpoint = await openCheckpoint(await nodeFolder(SAMPLE), { checkWeight });
  const windows = cutWindows(await encodeText(checkpoint, text), { windows: 16, window: 128 });
  await checkpoint.close();
  const library = await compress(await nodeFolder(SAMPLE), memoryOutput(), { gpu, recipe, calibration: { windows } });
  const error = library.tensors.find((tensor) => tensor.name === name)!.error!;
  // Other devices add up the products of inputs in other orders, which moves a code here and there.
  expect(chosen / error.chosen).toBeCloseTo(1, 1);
  expect(rtn / error.rtn).toBeCloseTo(1, 3);
});

test('the landscape is drawn by three.js on the device of the engine, and nothing is read back for it', async () => {
  const { page } = demo;
  await page.evaluate(() => window.compressa!.store.set({ page: 'tensor', panel: 'landscape' }));
  await page.waitForFunction(() => (window.compressa!.landscape?.frames ?? 0) > 0, { timeout: 60_000 });
  const before = await page.evaluate(() => window.compressa!.gpu!.counters.readBackBytes);
  const still = await pictureOf(page, 'landscape-canvas');
  expect(still.colours).toBeGreaterThan(50);
  await page.focus('#landscape-canvas');
  await page.keyboard.press('ArrowLeft');
  await page.waitForFunction(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))),
  );
  expect((await pictureOf(page, 'landscape-canvas')).bytes).not.toBe(still.bytes);
  expect(await page.evaluate(() => window.compressa!.gpu!.counters.readBackBytes)).toBe(before);
});

test('histogram and spectrum are drawn with their axes', async () => {
  const { page } = demo;
  await turn(page, 'model.layers.0.self_attn.k_proj.weight', { format: 'q4_0', pattern: '', rank: 0 });
  for (const panel of ['histogram', 'spectrum'] as const) {
    await page.evaluate((to) => window.compressa!.store.set({ panel: to }), panel);
    await page.waitForSelector(`#${panel} svg[role=img]`, { timeout: 60_000 });
    expect(await page.$eval(`#${panel} svg`, (svg) => svg.textContent)).toMatch(
      panel === 'histogram' ? /weight/ : /singular value/,
    );
  }
});

test('has no serious finding of axe-core, on any view', async () => {
  const { page } = demo;
  await page.evaluate(axe.source);
  for (const view of [
    { page: 'tensor', panel: 'microscope' },
    { page: 'tensor', panel: 'spectrum' },
    { page: 'model' },
  ] as const) {
    await page.evaluate((to) => window.compressa!.store.set(to), view);
    const found = await page.evaluate(async () => {
      const { violations } = await (window as unknown as { axe: typeof import('axe-core') }).axe.run(document, {
        iframes: false,
      });
      return violations.map(
        ({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`,
      );
    });
    expect(found.filter((text) => /^(serious|critical)/.test(text))).toEqual([]);
  }
});

/** Drops files that lie on the disk, as a visitor does. */
async function drop(page: Page, paths: readonly string[]): Promise<void> {
  const input = await page.evaluateHandle(() => {
    const made = document.createElement('input');
    made.type = 'file';
    made.multiple = true;
    return made;
  });
  await input.uploadFile(...paths);
  await page.evaluate((chosen) => {
    const transfer = new DataTransfer();
    for (const file of chosen.files!) transfer.items.add(file);
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }));
  }, input);
}

/** Waits until a model is there, and one of its tensors, not of the last one, is shown. */
const untilOpen = (page: Page, name: string) =>
  page.waitForFunction(
    (wanted) => {
      const { network, tensor } = window.compressa!;
      return network?.input.name === wanted && tensor?.figures?.exact && network.tensors.includes(tensor.entry);
    },
    { timeout: 60_000 },
    name,
  );

/** A weight of a model in memory, by the references. */
async function valuesIn(files: Parameters<typeof openCheckpoint>[0]): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(files, { checkWeight });
  try {
    return await readValues(checkpoint, findWeight(checkpoint, TENSOR));
  } finally {
    await checkpoint.close();
  }
}

test('a GGUF file that is dropped is read where it is, a tensor at a time', async () => {
  const { page } = demo;
  await page.evaluate(() => {
    const { slice } = Blob.prototype;
    const most = { read: 0 };
    Object.assign(window, { most });
    Blob.prototype.slice = function (this: Blob, start = 0, end = this.size, type?: string) {
      most.read = Math.max(most.read, end - start);
      return slice.call(this, start, end, type);
    };
  });
  const sink = memorySink('small.gguf');
  await compress(await nodeFolder(SAMPLE), sink, { gpu, recipe: ONE });
  await writeFile(join(folder, 'small.gguf'), sink.bytes());
  await page.evaluate((tensor) => window.compressa!.store.set({ page: 'tensor', panel: 'microscope', tensor }), TENSOR);
  await drop(page, [join(folder, 'small.gguf')]);
  await untilOpen(page, 'small.gguf');
  await turn(page, TENSOR, UNTOUCHED);
  expect((await buffersOf(page)).before).toEqual(await valuesIn(memorySource('small.gguf', sink.bytes())));
  expect(await page.$eval('#tensor-shape', (element) => element.textContent)).toMatch(
    /256 × 768 q4_0.*already compressed/,
  );
  await page.waitForFunction(() => window.compressa!.summarized, { timeout: 60_000 });
  const read = await page.evaluate(() => (window as unknown as { most: { read: number } }).most.read);
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(sink.bytes().length / 4);
});

test('packed weights of our own container are shown with their zeros', async () => {
  const { page } = demo;
  const output = memoryOutput('packed');
  const [rule] = ONE.rules;
  const recipe: Recipe = { version: 1, rules: [{ ...rule!, prune: { pattern: '2:4', packed: true } }] };
  await compress(await nodeFolder(SAMPLE), output, { gpu, recipe });
  for (const [name, data] of output.files) await writeFile(join(folder, name), data);
  await drop(
    page,
    [...output.files.keys()].map((name) => join(folder, name)),
  );
  await untilOpen(page, 'model');
  const { zeros } = await turn(page, TENSOR, UNTOUCHED);
  expect(zeros[0]).toBeGreaterThanOrEqual(0.5);
  const files = Object.fromEntries([...output.files].map(([name, data]) => [name, new Uint8Array(data)]));
  expect((await buffersOf(page)).before).toEqual(await valuesIn(memoryFolder('packed', files)));
});

test('says in words that there is not enough GPU memory, keeps what is there, and goes on', async () => {
  const { page } = demo;
  await page.evaluate(() => {
    const gpu = window.compressa!.gpu!;
    const { device } = gpu;
    const guard = gpu.guard.bind(gpu);
    // Once, the scope of memory that is closed second behind the tensor's buffers says what a device says that is full.
    gpu.guard = ((what: string, work: () => unknown) => {
      if (what !== 'model.embed_tokens.weight') return guard(what, work);
      gpu.guard = guard;
      const own = device.popErrorScope.bind(device);
      let closed = 0;
      device.popErrorScope = async () => {
        const full = ++closed === 2;
        const found = await own();
        return full ? new GPUOutOfMemoryError('no room') : found;
      };
      const guarded = guard(what, work);
      device.popErrorScope = own;
      return guarded;
    }) as typeof guard;
    window.compressa!.store.set({ tensor: 'model.embed_tokens.weight' });
  });
  await page.waitForSelector('.notice.error[data-key=tensor]');
  expect(await page.$eval('.notice.error p', (notice) => notice.textContent)).toMatch(
    /^Not enough GPU memory\. model\.embed_tokens\.weight.*Choose a smaller tensor/,
  );
  expect(await page.evaluate(() => window.compressa!.store.view.tensor)).toBe(TENSOR);
  await turn(page, 'model.embed_tokens.weight', UNTOUCHED);
  expect(await page.$('.notice.error')).toBeNull();
});

test('says in words what is wrong with a file that is broken, and goes on with the model that is there', async () => {
  const { page } = demo;
  await page.evaluate(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(64).fill(123)], 'broken.safetensors'));
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }));
  });
  await page.waitForSelector('.notice.error[data-key=model]');
  expect(await page.$eval('.notice.error p', (notice) => notice.textContent)).toMatch(/^broken\.safetensors: .*\./);
  await turn(page, TENSOR, { format: 'q8_0', pattern: '', rank: 0 });
  await page.click('.notice.error button');
  expect(await page.$('.notice.error')).toBeNull();
});

test('says in words that a tensor exceeds what the device allows, and goes on', async () => {
  const { page } = demo;
  await page.evaluate(() => {
    const gpu = window.compressa!.gpu!;
    const columns = gpu.device.limits.maxBufferSize / 4 + 64;
    const sizes = { 'long.weight': columns, 'small.weight': 64 };
    let at = 0;
    const header = Object.entries(sizes).map(([name, k]) => {
      const start = at;
      at += 2 * k;
      return [name, { dtype: 'BF16', shape: [1, k], data_offsets: [start, at] }];
    });
    const text = JSON.stringify(Object.fromEntries(header));
    const padded = text.padEnd(8 * Math.ceil(text.length / 8));
    // The same megabyte over and over: nobody reads it.
    const some = new Blob([new Uint8Array(2 ** 20)]);
    const parts = Array.from({ length: Math.ceil(at / 2 ** 20) }, () => some);
    const data = new Blob(parts).slice(0, at);
    const transfer = new DataTransfer();
    transfer.items.add(new File([new BigUint64Array([BigInt(padded.length)]), padded, data], 'long.safetensors'));
    window.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer }));
  });
  await page.waitForSelector('.notice.error[data-key=tensor]');
  expect(await page.$eval('.notice.error[data-key=tensor] p', (notice) => notice.textContent)).toMatch(
    /^Not enough GPU memory\. long\.weight.*this device allows.*Choose a smaller tensor/,
  );
  await turn(page, 'small.weight', { format: 'keep', pattern: '2:4', rank: 0 });
  expect(await page.$('.notice.error[data-key=tensor]')).toBeNull();
  for (const close of await page.$$('.notice button')) await close.click();
  await page.click('#sample');
  await untilOpen(page, 'union-7m');
});

test('opens a lost device again, with the same tensor and knobs', async () => {
  const { page } = demo;
  const knobs = { format: 'keep', pattern: '2:4', rank: 0 };
  await turn(page, TENSOR, knobs);
  await page.evaluate(() => {
    const app = window.compressa!;
    Object.assign(window, { lost: app.gpu });
    app.gpu!.device.destroy();
  });
  await page.waitForFunction(
    () => window.compressa!.gpu && window.compressa!.gpu !== (window as { lost?: object }).lost,
  );
  await turn(page, TENSOR, knobs);
  expect(await page.$eval('.notice[data-key=device]', (notice) => notice.textContent)).toMatch(
    /lost and is open again/,
  );
});

test('without a network, the link of a view brings it back', async () => {
  const { page } = demo;
  const knobs = { format: 'keep', pattern: '2:4', rank: 0 };
  await page.waitForFunction(() => window.compressa!.keptOffline, { timeout: 60_000 });
  const link = new URL(await page.evaluate(() => window.compressa!.store.link()), served.url).href;
  const other = await demo.browser.newPage();
  const said = listenTo(other);
  await served.stop();
  await other.goto(link, { timeout: 60_000 });
  await untilShown(other);
  await turn(other, TENSOR, knobs);
  expect(said).toEqual([]);
  await other.close();
});

test('says what to do in a browser without WebGPU', async () => {
  const other = await demo.browser.newPage();
  await other.evaluateOnNewDocument(() => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }));
  // From the service worker: the server is gone.
  await other.goto(served.url);
  await other.waitForSelector('#unsupported:not([hidden])');
  expect(await other.$eval('#unsupported', (element) => element.textContent)).toMatch(/no WebGPU.*Chrome/s);
  await other.close();
});

test('said nothing on the console that is a warning or an error', () => {
  expect(demo.said).toEqual([]);
});
