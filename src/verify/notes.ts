import { CompressaError } from '../errors.ts';

/** What ends a verification, however much is done: the caller's wish, a device that is gone, and defects. */
const FATAL = new Set(['CANCELLED', 'DEVICE_LOST', 'GPU_VALIDATION', 'SHADER']);

/** Collects what a report leaves out, and why. */
export class Notes {
  readonly list: string[] = [];

  add(...notes: readonly string[]): void {
    this.list.push(...notes);
  }

  /** The work's result; null with a note where it fails, so that one stage does not throw away what others found. */
  async attempt<T>(what: string, work: () => Promise<T>): Promise<T | null> {
    try {
      return await work();
    } catch (error) {
      if (!mayBeLeftOut(error)) throw error;
      this.add(`${what} was left out. ${(error as Error).message}`);
      return null;
    }
  }
}

const mayBeLeftOut = (error: unknown): boolean =>
  error instanceof CompressaError
    ? !FATAL.has(error.code)
    : // The host's memory, as engines say it.
      error instanceof RangeError && /alloc|array length/i.test(error.message);
