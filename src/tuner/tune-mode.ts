import { ArgumentError } from '../errors.ts';
import { suggest } from '../suggest.ts';

/** `off` takes the fixed order of variants, `quick` a few tenths of a second for what is new, `full` as long as it takes to be certain. */
export type TuneMode = 'off' | 'quick' | 'full';

export const TUNE_MODES: readonly TuneMode[] = ['off', 'quick', 'full'];

/** @throws ArgumentError where there is no such mode */
export function tuneModeByName(name: string, what = 'tune'): TuneMode {
  const mode = TUNE_MODES.find((one) => one === name);
  if (mode) return mode;
  throw new ArgumentError(
    `${what}: there is no mode "${name}".${suggest(name, TUNE_MODES)} There are: ${TUNE_MODES.join(', ')}.`,
  );
}
