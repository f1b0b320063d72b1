import { Presets, SingleBar } from 'cli-progress';
import type { CompressProgress } from '../passes/compress-options.ts';
import { safeName } from './columns.ts';

/** Shows how far a run is, on standard error. */
export interface Progress {
  /** `done` of `total`; `what` is at work. */
  update(done: number, total: number, what?: string): void;
  stop(): void;
}

/** What is counted, for the rate: `scale` of it make one `name`. */
export interface ProgressUnit {
  readonly name: string;
  readonly scale: number;
}

export const MEGABYTES: ProgressUnit = { name: 'MB', scale: 1e6 };

const STEPS: ProgressUnit = { name: 'steps', scale: 1 };

/** Lines are at least this far apart, so that a short run does not fill a log. */
const LINE_SECONDS = 2;

/** A bar with rate and time left on a terminal, else a line every tenth. */
export function startProgress(label: string, unit: ProgressUnit = MEGABYTES): Progress {
  return process.stderr.isTTY ? bar(label, unit) : lines(label, unit);
}

/** Of stages before anything is written, each of which has a progress of its own, and then of what is written. */
export function startStages(label: string): {
  update(progress: CompressProgress): void;
  stop(): void;
} {
  let name: string | undefined;
  let shown = startProgress(label);
  const enter = (stage: string | undefined) => {
    if (stage === name) return;
    shown.stop();
    shown = stage === undefined ? startProgress(label) : startProgress(`${label}, ${stage}`, STEPS);
    name = stage;
  };
  return {
    update({ done, total, tensor, stage }) {
      enter(stage?.name);
      if (stage) shown.update(stage.done, stage.total, tensor);
      else shown.update(done, total, tensor);
    },
    stop: () => shown.stop(),
  };
}

/** Rate since `started` and time left, once something is done. */
function pace(done: number, total: number, started: number, { name, scale }: ProgressUnit) {
  if (done === 0) return { rate: '-', left: '-' };
  const seconds = Math.max(1e-3, (performance.now() - started) / 1000);
  const rate = done / scale / seconds;
  return {
    rate: `${rate < 10 ? rate.toFixed(2) : rate.toFixed(1)} ${name}/s`,
    left: `${((seconds * (total - done)) / done).toFixed(0)} s left`,
  };
}

function bar(label: string, unit: ProgressUnit): Progress {
  const started = performance.now();
  let single: SingleBar | undefined;
  return {
    update(done, total, what = '') {
      if (!single) {
        const format = `${label} {bar} {percentage}% | {rate} | {left}${what ? ' | {what}' : ''}`;
        // Ctrl-C is handled by the program, which cancels.
        single = new SingleBar(
          { format, hideCursor: true, clearOnComplete: true, gracefulExit: false },
          Presets.shades_classic,
        );
        single.start(total, 0, { ...pace(0, total, started, unit), what: '' });
      }
      // A total can turn out smaller on the way.
      single.setTotal(total);
      single.update(done, { ...pace(done, total, started, unit), what: safeName(what) });
    },
    stop: () => single?.stop(),
  };
}

function lines(label: string, unit: ProgressUnit): Progress {
  const started = performance.now();
  let shown = 0;
  let last = Number.NEGATIVE_INFINITY;
  return {
    update(done, total, what = '') {
      const tenths = total === 0 ? 10 : Math.floor((10 * done) / total);
      const now = performance.now();
      if (tenths <= shown || (tenths < 10 && now - last < 1000 * LINE_SECONDS)) return;
      shown = tenths;
      last = now;
      const { rate, left } = pace(done, total, started, unit);
      console.error(`${label}: ${tenths * 10}%${what && `, ${safeName(what)}`}, ${rate}, ${left}`);
    },
    stop: () => undefined,
  };
}
