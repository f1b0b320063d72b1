import { ArgumentError } from '../errors.ts';
import { openCheckpoint } from '../files/checkpoint.ts';
import type { Calibration } from '../passes/calibration/calibration.ts';
import { encodeText } from '../passes/encode-text.ts';
import { checkWeight } from '../passes/stored-weight.ts';
import { cutWindows } from '../passes/windows.ts';
import { openInput } from './node-inputs.ts';
import { readText, wholeNumber } from './text.ts';

export interface CalibrationOptions {
  /** A text file. */
  readonly calibration?: string;
  readonly windows?: string;
  readonly window?: string;
  /** `--no-propagate` */
  readonly propagate?: boolean;
}

const DEFAULTS = { windows: '64', window: '256' };

/**
 * The windows of tokens that options ask for; undefined where they ask for none.
 * @throws ArgumentError, FileError; ModelError where the model has no tokenizer
 */
export async function readCalibration(
  model: string,
  { calibration: path, windows, window, propagate }: CalibrationOptions,
  signal: AbortSignal,
): Promise<Calibration | undefined> {
  if (path === undefined) {
    if (windows === undefined && window === undefined && propagate !== false) return undefined;
    throw new ArgumentError('--windows, --window and --no-propagate are about a calibration text: give --calibration.');
  }
  const how = {
    windows: wholeNumber('--windows', windows ?? DEFAULTS.windows, 1),
    window: wholeNumber('--window', window ?? DEFAULTS.window, 2),
  };
  const text = await readText(path);
  const checkpoint = await openCheckpoint(await openInput(model), { checkWeight, signal });
  try {
    const tokens = await encodeText(checkpoint, text, 'a calibration text');
    return { windows: cutWindows(tokens, how), ...(propagate === false && { propagate }) };
  } finally {
    await checkpoint.close();
  }
}
