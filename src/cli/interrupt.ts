import { EXIT } from './exit-codes.ts';

const controller = new AbortController();

/** Aborted by Ctrl-C or SIGTERM: every command hands it to its work. */
export const interruptSignal: AbortSignal = controller.signal;

/** From now on the first interrupt cancels, so that nothing is left half-written; the second ends the process. */
export function listenForInterrupts(): void {
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(EXIT.cancelled);
    console.error('Cancelling; once more to stop at once.');
    controller.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
}
