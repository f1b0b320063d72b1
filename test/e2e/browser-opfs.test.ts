import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import { compress } from '../../src/passes/compress.ts';
import { verify } from '../../src/verify/verify.ts';
import { openTestGpu } from '../gpu/open-test-gpu.ts';
// Types only: the page itself runs in the browser.
import type {} from './browser-opfs/page.ts';
import { openServedPage, SAMPLE } from './served-page.ts';

const [WINDOW, WINDOWS] = [32, 2];

const served = openServedPage('browser-opfs', 400_000);

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test("compresses into the browser's own file system what Node makes, and verifies it there", async () => {
  const question = served.page.evaluate((...given) => window.compressIntoOpfs(...given), served.url, WINDOW, WINDOWS);
  const { answers, files, refusal, report, chosen } = await served.ask(question);
  // Ranges, and what a model may lack.
  expect(Object.keys(answers).sort()).toEqual(['206', '404']);
  expect(answers[206]).toBeGreaterThan(100);
  expect(refusal).toMatch(
    /^union-7m-q4_0: the folder holds files already\. Choose another one or allow overwriting\.$/,
  );
  expect(chosen).toEqual(['whole', 'whole']);

  const gpu = await openTestGpu();
  try {
    const output = memoryOutput();
    await compress(await nodeFolder(SAMPLE), output, { gpu, format: 'q4_0' });
    expect(files).toEqual(Object.fromEntries([...output.files].map(([name, bytes]) => [name, sha256(bytes)])));

    const original = await openCheckpoint(await nodeFolder(SAMPLE));
    const compressed = await openCheckpoint(memoryFolder('compressed', Object.fromEntries(output.files)));
    const data = await readFile(`${SAMPLE}/validation.tokens.u16`);
    const tokens = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
    const here = await verify(original, compressed, { gpu, tokens, window: WINDOW, windows: WINDOWS, speed: false });
    expect(report.checks.map(({ name, passed }) => [name, passed])).toEqual(
      here.checks.map(({ name }) => [name, true]),
    );
    expect(report.checks.length).toBeGreaterThan(2);
    expect(report.size.compressed).toBe(here.size.compressed);
    expect(report.size.bitsPerWeight).toEqual(here.size.bitsPerWeight);
    expect(report.speed).toBeNull();
    // Sums in f32 differ from driver to driver, in the sixth digit or so.
    const [there, wanted] = [report.accuracy!.perplexity, here.accuracy!.perplexity];
    for (const key of ['original', 'compressed'] as const) {
      expect(Math.abs(there[key]! / wanted[key]! - 1), key).toBeLessThan(1e-4);
    }
    expect(there.compressed).not.toBe(there.original);
    expect(there.control!).toBeGreaterThan(2 * there.original);
    await original.close();
    await compressed.close();
  } finally {
    gpu.close();
  }
});
