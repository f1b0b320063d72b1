import { CommanderError } from 'commander';
import { CancelledError, CompressaError } from '../errors.ts';

/** What a script can tell from the exit code; `--help` prints this list. */
export const EXIT = { ok: 0, no: 1, usage: 2, device: 3, defect: 70, cancelled: 130 } as const;

export const EXIT_HELP = `
Exit codes:
  0    done
  1    the work was done and the answer is no: a gate or a check failed
  2    wrong usage or bad input: an option, a file, a model, a recipe
  3    the GPU: none found, lost, out of memory, or it computes wrongly
  70   a defect of Compressa; please report it with what it printed
  130  cancelled

Environment:
  COMPRESSA_DEBUG=1..3  show steps, shaders, timings
`;

const DEVICE_CODES = new Set(['NO_DEVICE', 'DEVICE_LOST', 'OUT_OF_MEMORY', 'SELF_TEST', 'SHADER']);
const DEFECT_CODES = new Set(['GPU_VALIDATION', 'CONVERGENCE']);

/** Says on standard error what went wrong and returns the exit code for it. */
export function reportError(error: unknown, signal: AbortSignal): number {
  // Commander has printed its own message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof CancelledError) {
    console.error(`${error.message}`);
    return EXIT.cancelled;
  }
  if (signal.aborted && error instanceof Error && error.name === 'AbortError') {
    console.error(new CancelledError().message);
    return EXIT.cancelled;
  }
  if (error instanceof CompressaError && !DEFECT_CODES.has(error.code)) {
    console.error(`error ${error.code}: ${error.message}`);
    return DEVICE_CODES.has(error.code) ? EXIT.device : EXIT.usage;
  }
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
  console.error('\nThis is a defect of Compressa. Please report it with the lines above and the command.');
  return EXIT.defect;
}
