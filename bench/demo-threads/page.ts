// What the page's thread is like while a model compresses on it, or in a worker with a device of its own.
import { compressSample } from './compress-sample.ts';

export interface Felt {
  /** Milliseconds that the compression took. */
  readonly took: number;
  /** Milliseconds of the page's tasks of more than 50. */
  readonly longTasks: readonly number[];
  /** Milliseconds between two turns of the page's event loop that each do nothing: what an event has to wait for at most. */
  readonly turns: readonly number[];
}

declare global {
  interface Window {
    compressOn?: (where: 'page' | 'worker') => Promise<Felt>;
  }
}

window.compressOn = async (where) => {
  const url = new URL('.', location.href).href;
  const longTasks: number[] = [];
  const turns: number[] = [];
  let on = false;
  const observer = new PerformanceObserver((list) => {
    if (on) longTasks.push(...list.getEntries().map(({ duration }) => duration));
  });
  observer.observe({ type: 'longtask' });
  const { port1, port2 } = new MessageChannel();
  let last = performance.now();
  port1.onmessage = () => {
    const now = performance.now();
    if (on) turns.push(now - last);
    last = now;
    setTimeout(() => {
      last = performance.now();
      port2.postMessage(0);
    }, 4);
  };
  port2.postMessage(0);
  const begins = () => {
    on = true;
  };
  const took = where === 'page' ? await compressSample(url, begins) : await inWorker(url, begins);
  await new Promise((done) => setTimeout(done, 200));
  on = false;
  observer.disconnect();
  port1.close();
  return { took, longTasks, turns };
};

function inWorker(url: string, begins: () => void): Promise<number> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.onmessage = ({ data }: MessageEvent<'begins' | { took: number }>) => {
      if (data === 'begins') return begins();
      worker.terminate();
      resolve(data.took);
    };
    worker.postMessage(url);
  });
}
