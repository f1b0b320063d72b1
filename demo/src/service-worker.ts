// Keeps the page and the sample model, so that it works without a network once it was loaded.
declare const __FILES__: readonly string[];
declare const __VERSION__: string;

const SAMPLE_CACHE = __SAMPLE_CACHE__;

interface LastingEvent extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface FetchEvent extends LastingEvent {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
const worker = self as unknown as {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: LastingEvent) => void): void;
  addEventListener(type: 'fetch', listener: (event: FetchEvent) => void): void;
};

const PAGE_CACHE = `compressa-page-${__VERSION__}`;

worker.addEventListener('install', (event) => {
  const keep = async () => {
    const cache = await caches.open(PAGE_CACHE);
    await cache.addAll(__FILES__.map((file) => new Request(file, { cache: 'no-cache' })));
    await worker.skipWaiting();
  };
  event.waitUntil(keep());
});

worker.addEventListener('activate', (event) => {
  const clean = async () => {
    const own = (name: string) => name.startsWith('compressa-page-') || name.startsWith('compressa-sample-');
    const old = (await caches.keys()).filter((name) => own(name) && name !== PAGE_CACHE && name !== SAMPLE_CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await worker.clients.claim();
  };
  event.waitUntil(clean());
});

worker.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || !request.url.startsWith(worker.registration.scope)) return;
  event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const sample = await (await caches.open(SAMPLE_CACHE)).match(request.url, { ignoreSearch: true });
  if (sample) return sample;
  const page = await caches.open(PAGE_CACHE);
  const at = request.mode === 'navigate' ? worker.registration.scope : request.url;
  return (await page.match(at, { ignoreSearch: true })) ?? fetch(request);
}
