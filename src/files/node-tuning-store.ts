import { link, lstat, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { readTunings, type TuningStore } from '../tuner/store.ts';

const NAME = 'tuning.json';
const VERSION = 1;
/** Choices take some hundred bytes each; what is larger is not ours. */
const MOST_BYTES = 64 * 1024 * 1024;
/** A process holds the lock for some milliseconds: one that is as old as this was left by a process that was killed. */
const STALE_MILLISECONDS = 10_000;
const TURN_MILLISECONDS = 25;
/** After so long nothing is kept: tuning is no reason to wait, either. */
const WAIT_MILLISECONDS = 15_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the user's caches are kept. */
export function cacheFolder(env: Environment = process.env, platform: string = process.platform): string {
  const home = env.HOME || homedir();
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'compressa');
  if (platform === 'darwin') return join(home, 'Library/Caches/compressa');
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(home, 'AppData/Local'), 'compressa');
  return join(home, '.cache/compressa');
}

/**
 * Keeps what tuners find in a JSON file of the user's cache folder, replaced as a whole under a lock, so that processes that tune at the same
 * time lose nothing. A file that is damaged counts as empty, and where none can be written nothing is kept: tuning is never a reason to fail.
 */
export function nodeTuningStore(path: string = join(cacheFolder(), NAME)): TuningStore {
  return {
    environment: environmentOf(),
    load: async (device) => readTunings((await readDevices(path))[device]),
    async save(device, tunings) {
      try {
        await mkdir(dirname(path), { recursive: true });
        const unlock = await lock(`${path}.lock`);
        try {
          const devices = await readDevices(path);
          const kept = readTunings(devices[device]);
          const all = { ...devices, [device]: Object.fromEntries([...kept, ...tunings]) };
          const partial = `${path}.${process.pid}`;
          try {
            await writeFile(partial, `${JSON.stringify({ version: VERSION, devices: all }, undefined, 1)}\n`);
            await rename(partial, path);
          } finally {
            await rm(partial, { force: true });
          }
        } finally {
          await unlock();
        }
      } catch {
        // A folder that can't be written to: the next run finds it out again.
      }
    },
  };
}

async function readDevices(path: string): Promise<Record<string, unknown>> {
  try {
    if ((await stat(path)).size > MOST_BYTES) return {};
    const { version, devices } = JSON.parse(await readFile(path, 'utf8')) as { version?: unknown; devices?: unknown };
    return version === VERSION && typeof devices === 'object' && devices !== null ? { ...devices } : {};
  } catch {
    return {};
  }
}

/** Waits for whoever holds it; takes it from one who is gone. @throws where it can't be made, or is held for too long */
async function lock(path: string): Promise<() => Promise<void>> {
  const until = performance.now() + WAIT_MILLISECONDS;
  for (;;) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST' || performance.now() > until) throw error;
      if (!(await removeStale(path))) await wait(TURN_MILLISECONDS);
    }
  }
}

/** Whether the file or link, whatever it points to, was left behind, and is gone now. */
async function removeStale(path: string): Promise<boolean> {
  const held = await lstat(path).catch(() => undefined);
  // Clocks that were set back, or differ between machines, make times of the future.
  if (!held || Math.abs(Date.now() - held.mtimeMs) <= STALE_MILLISECONDS) return false;
  // Of several who find it stale one renames it. Whoever comes later takes away that one's own lock, sees it, and puts it back.
  const taken = `${path}.${process.pid}`;
  try {
    await rename(path, taken);
    if ((await lstat(taken)).mtimeMs === held.mtimeMs) return true;
    await link(taken, path);
    return false;
  } catch {
    return false;
  } finally {
    await rm(taken, { force: true });
  }
}

function environmentOf(): string {
  let dawn = '';
  try {
    const { version } = createRequire(import.meta.url)('webgpu/package.json') as { version: string };
    dawn = `, Dawn of webgpu ${version}`;
  } catch {
    // Not installed, or brought by the caller.
  }
  return `Node ${process.versions.node}${dawn}`;
}
