import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, vi } from 'vitest';
import { openTestGpu } from './open-test-gpu.ts';

/** The sample model's folder. */
export const SAMPLE = fileURLToPath(new URL('../../models/union-7m', import.meta.url));

/** What a command gets that nobody interrupts. */
export const running = { signal: new AbortController().signal };

/** What commands of this process say. */
export interface Said {
  /** On standard output; a test may set it back. */
  printed: string;
  /** On standard error. */
  said: string;
}

/** Registers hooks that catch what the commands of each test of a file say. */
export function catchOutput<Bench extends Said>(bench: Bench): Bench {
  beforeEach(() => {
    bench.printed = bench.said = '';
    vi.spyOn(console, 'error').mockImplementation((text) => {
      bench.said += `${text}\n`;
    });
    vi.spyOn(process.stdout, 'write').mockImplementation((text, ...rest) => {
      bench.printed += text;
      for (const callback of rest) if (typeof callback === 'function') callback();
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  return bench;
}

/** Around each test of a command: a folder of its own, and what the command says. */
export interface CliBench extends Said {
  readonly folder: string;
}

/** Registers the hooks of a file of tests. */
export function openCliBench(): CliBench {
  const bench = { folder: '', printed: '', said: '' };
  beforeAll(async () => {
    // Keeps Dawn's entry object reachable for the commands, which open their own device.
    (await openTestGpu()).close();
  });
  beforeEach(async () => {
    bench.folder = await mkdtemp(join(tmpdir(), 'compressa-cli-'));
  });
  afterEach(() => rm(bench.folder, { recursive: true, force: true }));
  return catchOutput(bench);
}
