import { ArgumentError } from '../errors.ts';
import { suggest } from '../suggest.ts';

/** `off` takes the fixed order of variants, `quick` times what nothing certain is known of, two seconds at most in all, `full` holds up to three contests for each, of four seconds of runs at most. */
export type TuneMode = 'off' | 'quick' | 'full';

/** All of them, from least to most. */
export const TUNE_MODES: readonly TuneMode[] = ['off', 'quick', 'full'];

/** @throws ArgumentError where there is no such mode */
export function tuneModeByName(name: string, what = 'tune'): TuneMode {
  const mode = TUNE_MODES.find((one) => one === name);
  if (mode) return mode;
  throw new ArgumentError(
    `${what}: there is no mode "${name}".${suggest(name, TUNE_MODES)} There are: ${TUNE_MODES.join(', ')}.`,
  );
}
