import { ArgumentError } from '../../errors.ts';

/** Text, as tokens, that shows a compression what the inputs of matrices are like. */
export interface Calibration {
  /** Windows of tokens, all of one length; each starts with empty caches. `cutWindows` cuts a text's tokens into them. */
  readonly windows: readonly Uint32Array[];
  /** Whether later blocks see what the compressed earlier ones make, as they will when the model runs. Default true. */
  readonly propagate?: boolean;
  /**
   * With `propagate`: how much of what earlier matrices lost `gptq` makes up for in later ones, from 0 to 1. The original model is then run as well.
   * Default: 0.5 for formats of fewer than 16 levels, 0 for others.
   */
  readonly correction?: number;
}

/** Tokens that a model may be calibrated with at most: their values wait on the host. */
const MAX_TOKENS = 2 ** 24;

/** @throws ArgumentError for windows that can't be run */
export function checkCalibration(
  { windows, propagate, correction }: Calibration,
  vocabulary: number,
  maxPositions: number,
): void {
  if (correction !== undefined && !(correction >= 0 && correction <= 1)) {
    throw new ArgumentError(`The correction of a calibration is a share from 0 to 1, not ${correction}.`);
  }
  if (correction !== undefined && correction > 0 && propagate === false) {
    throw new ArgumentError('A calibration that does not show blocks what earlier ones make has nothing to correct.');
  }
  const length = windows[0]?.length ?? 0;
  if (length === 0) throw new ArgumentError('The calibration has no tokens. Give text of at least one window.');
  if (windows.some((window) => window.length !== length)) {
    throw new ArgumentError('The windows of a calibration have to be of one length.');
  }
  if (length > maxPositions) {
    throw new ArgumentError(`Windows of ${length} tokens are longer than the ${maxPositions} positions of the model.`);
  }
  if (windows.length * length > MAX_TOKENS) {
    throw new ArgumentError(
      `A calibration of ${windows.length * length} tokens is too long: at most ${MAX_TOKENS}. Take fewer windows.`,
    );
  }
  for (const window of windows) {
    const bad = window.find((token) => token >= vocabulary);
    if (bad === undefined) continue;
    throw new ArgumentError(
      `The calibration has the token ${bad}, but the model knows ${vocabulary} only: it is of another tokenizer.`,
    );
  }
}
