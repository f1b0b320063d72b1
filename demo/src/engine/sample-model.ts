import { SAMPLE_FILES } from '../sample-files.ts';
import { ArrivingFile } from './arriving-file.ts';
import type { ModelInput } from './model-source.ts';

const sampleUrl = (file: string) => new URL(__SAMPLE_URL__ + file, location.href);

/** Files of the sample that were asked for: they come once, however often the model is opened. */
const arriving = new Map<string, ArrivingFile>();

function arrivingFile(file: string): ArrivingFile {
  const known = arriving.get(file);
  if (known && !known.failed) return known;
  const asked = new ArrivingFile(file, sampleUrl(file));
  arriving.set(file, asked);
  return asked;
}

/** The sample model, which lies beside the page. */
export function sampleInput(): ModelInput {
  const known: readonly string[] = SAMPLE_FILES;
  return {
    name: 'union-7m',
    kind: 'folder',
    sample: true,
    open: () => ({
      name: 'union-7m',
      open: (file) => arrivingFile(file).source(),
      // What is not there is not asked for: servers may answer with a page, and browsers complain of it.
      has: async (file) => known.includes(file),
    }),
    text: async (use) => (await arrivingFile(`${use}.txt`).whole()).text(),
  };
}

/** Keeps the sample model in the browser, for the service worker to answer with when there is no network. False where there is none. */
export async function keepSample(): Promise<boolean> {
  if (!__BUILT__ || !('serviceWorker' in navigator)) return false;
  try {
    await navigator.serviceWorker.ready;
    const cache = await caches.open(__SAMPLE_CACHE__);
    const kept = new Set((await cache.keys()).map(({ url }) => url));
    for (const file of SAMPLE_FILES) {
      const { href } = sampleUrl(file);
      if (kept.has(href)) continue;
      const blob = await arrivingFile(file).whole();
      await cache.put(href, new Response(blob, { headers: { 'content-length': String(blob.size) } }));
    }
    return true;
  } catch {
    return false; // Browsers that keep nothing, or have no room: the page works as long as there is a network.
  }
}
