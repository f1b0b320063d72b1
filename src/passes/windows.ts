import { ArgumentError } from '../errors.ts';

/** How a text is cut into windows. */
export interface WindowOptions {
  /** Tokens in a window; each window starts with empty caches. Default 256. */
  readonly window?: number;
  /** Windows from the start of the text. Default: all whole ones. */
  readonly windows?: number;
}

/** Cuts a text's tokens into whole windows. @throws ArgumentError when there is none. */
export function cutWindows(tokens: ArrayLike<number>, options: WindowOptions = {}): Uint32Array[] {
  const { window = 256, windows = Number.POSITIVE_INFINITY } = options;
  if (!Number.isInteger(window) || window < 2)
    throw new ArgumentError(`A window has at least 2 tokens, not ${window}.`);
  const count = Math.min(Math.floor(tokens.length / window), windows);
  if (!(count >= 1)) {
    throw new ArgumentError(
      `The text has ${tokens.length} tokens, fewer than one window of ${window}. Give more text or a smaller --window.`,
    );
  }
  const all = Uint32Array.from(tokens);
  return Array.from({ length: count }, (_, i) => all.slice(i * window, (i + 1) * window));
}

/** The token that follows each but the last. */
export const targetsOf = (window: Uint32Array): Uint32Array<ArrayBuffer> => new Uint32Array(window.subarray(1));
