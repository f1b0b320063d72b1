import { rmSync } from 'node:fs';

/** Temporary files and folders of outputs that are not complete. */
const temporaries = new Set<string>();
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function removeAll(): void {
  for (const path of temporaries) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // The process is ending: nobody is left to tell, and the name says what it is.
    }
  }
  temporaries.clear();
}

function onSignal(signal: NodeJS.Signals): void {
  // Where the program listens too, ending is its decision, and `exit` cleans up.
  if (process.listenerCount(signal) > 1) return;
  removeAll();
  unhook();
  process.kill(process.pid, signal);
}

function unhook(): void {
  process.off('exit', removeAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

/** Has `path` removed when the process exits or a signal ends it, until `releaseTemporary`. */
export function trackTemporary(path: string): void {
  if (temporaries.size === 0) {
    process.on('exit', removeAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  temporaries.add(path);
}

/** Forgets a temporary that was renamed or removed. */
export function releaseTemporary(path: string): void {
  if (temporaries.delete(path) && temporaries.size === 0) unhook();
}
