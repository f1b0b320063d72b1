import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { openDemo, serveDemo, untilShown } from '../../demo/build/served-demo.ts';
import type { Claim, Measurement } from '../claim.ts';

/** The static build of the demo: small, and works from a sub-path and, once loaded, without a server. */
export const claim: Claim = {
  name: 'demo build',
  async measure() {
    const served = await serveDemo();
    try {
      return [await size(served.folder), await offline(served)];
    } finally {
      await served.close();
    }
  },
};

async function size(folder: string): Promise<Measurement> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || relative(folder, path).startsWith('model')) continue;
    bytes += gzipSync(await readFile(path), { level: 9 }).length;
  }
  return {
    claim: 'the static build, each file by gzip, without the sample model',
    threshold: 'under 3 MB',
    measured: `${(bytes / 1e6).toFixed(2)} MB`,
    pass: bytes < 3e6,
  };
}

async function offline(served: Awaited<ReturnType<typeof serveDemo>>): Promise<Measurement> {
  const { browser, page, said } = await openDemo(served.url);
  try {
    await untilShown(page);
    await page.waitForFunction(() => window.compressa!.keptOffline, { timeout: 60_000 });
    await served.stop();
    await page.reload();
    await untilShown(page);
    const tensors = await page.$$eval('#map .tensor', (all) => all.length);
    return {
      claim: `loaded again from ${new URL(served.url).pathname} without a server`,
      threshold: 'the sample model, nothing on the console',
      measured: `${tensors} tensors, ${said.length} complaints`,
      pass: tensors > 0 && said.length === 0,
    };
  } finally {
    await browser.close();
  }
}
