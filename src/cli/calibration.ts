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
  /** A share from 0 to 1. */
  readonly correct?: string;
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
  { calibration: path, windows, window, correct, propagate }: CalibrationOptions,
  signal: AbortSignal,
): Promise<Calibration | undefined> {
  if (path === undefined) {
    const none = [windows, window, correct].every((option) => option === undefined) && propagate !== false;
    if (none) return undefined;
    throw new ArgumentError(
      '--windows, --window, --correct and --no-propagate are about a calibration text: give --calibration.',
    );
  }
  const how = {
    windows: wholeNumber('--windows', windows ?? DEFAULTS.windows, 1),
    window: wholeNumber('--window', window ?? DEFAULTS.window, 2),
  };
  const text = await readText(path);
  const checkpoint = await openCheckpoint(await openInput(model), { checkWeight, signal });
  try {
    const tokens = await encodeText(checkpoint, text, 'a calibration text');
    // Nothing is no number, though Number('') is 0.
    const correction = correct === undefined ? undefined : Number(correct.trim() || Number.NaN);
    return {
      windows: cutWindows(tokens, how),
      ...(propagate === false && { propagate }),
      ...(correction !== undefined && { correction }),
    };
  } finally {
    await checkpoint.close();
  }
}
