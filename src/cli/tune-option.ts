import { Option } from 'commander';
import { nodeTuningStore } from '../files/node-tuning-store.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { TUNE_MODES, type TuneMode } from '../tuner/tune-mode.ts';
import { Tuner } from '../tuner/tuner.ts';
import { type Progress, startProgress } from './progress.ts';

export interface TuneOptions {
  readonly tune?: TuneMode;
}

/** Every command that runs models takes this. */
export const tuneOption = (mode: TuneMode): Option =>
  new Option(
    '--tune <mode>',
    'time variants of kernels on this GPU and remember the best: quick takes up to two seconds for what is new, full up to three contests of four seconds for each shape, off takes the same ones always',
  )
    .choices(TUNE_MODES)
    .default(mode);

/** A tuner that keeps what it finds in the user's cache folder; none where the option is off. A full one shows how far it is. */
export function tunerOf(gpu: Gpu, { tune = 'off' }: TuneOptions, signal: AbortSignal): Tuner | undefined {
  if (tune === 'off') return undefined;
  let progress: Progress | undefined;
  return new Tuner(gpu, {
    mode: tune,
    store: nodeTuningStore(),
    signal,
    ...(tune === 'full' && {
      onProgress(done, total, what) {
        progress ??= startProgress('Tuning', { name: 'shapes', scale: 1 });
        progress.update(done, total, what);
        if (done < total) return;
        progress.stop();
        progress = undefined;
      },
    }),
  });
}
