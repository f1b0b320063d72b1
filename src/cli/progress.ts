import { Presets, SingleBar } from 'cli-progress';
import { safeName } from './columns.ts';

/** Shows how far a run is, on standard error. */
export interface Progress {
  /** `done` of `total` bytes; `what` is at work. */
  update(done: number, total: number, what: string): void;
  stop(): void;
}

const MEGABYTE = 1e6;

/** A bar with rate and time left on a terminal, else a line every tenth. */
export function startProgress(label: string): Progress {
  return process.stderr.isTTY ? bar(label) : lines(label);
}

function bar(label: string): Progress {
  const started = performance.now();
  let single: SingleBar | undefined;
  return {
    update(done, total, what) {
      if (!single) {
        const format = `${label} {bar} {percentage}% | {rate} MB/s | {eta_formatted} left | {what}`;
        // Ctrl-C is handled by the program, which cancels.
        single = new SingleBar(
          { format, hideCursor: true, clearOnComplete: true, gracefulExit: false },
          Presets.shades_classic,
        );
        single.start(total, 0, { rate: '-', what: '' });
      }
      const rate = (done / MEGABYTE / Math.max(1e-3, (performance.now() - started) / 1000)).toFixed(1);
      single.update(done, { rate, what: safeName(what) });
    },
    stop: () => single?.stop(),
  };
}

function lines(label: string): Progress {
  const started = performance.now();
  let shown = 0;
  return {
    update(done, total) {
      const tenths = total === 0 ? 10 : Math.floor((10 * done) / total);
      if (tenths <= shown) return;
      shown = tenths;
      const seconds = (performance.now() - started) / 1000;
      const left = done === 0 ? 0 : (seconds * (total - done)) / done;
      const rate = done / MEGABYTE / Math.max(1e-3, seconds);
      console.error(`${label}: ${tenths * 10}%, ${rate.toFixed(1)} MB/s, ${left.toFixed(0)} s left`);
    },
    stop: () => undefined,
  };
}
