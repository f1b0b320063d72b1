import { CancelledError } from '../errors.ts';

/** Throws a CancelledError where `signal` has fired. */
export function checkCancelled(signal: AbortSignal | undefined, what?: string): void {
  if (signal?.aborted) throw new CancelledError(what);
}
