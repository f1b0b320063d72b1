import { readTunings, type Tuning, type TuningStore } from './store.ts';

const DATABASE = 'compressa';
const TABLE = 'tunings';

/**
 * Keeps choices in the browser's IndexedDB, one entry a device and class, so that pages that tune at the same time lose nothing. Where the
 * browser refuses (a private window, a full disk), nothing is kept.
 */
export function indexedDbTuningStore(name = DATABASE): TuningStore {
  return {
    environment: navigator.userAgent,
    async load(device) {
      const found: Record<string, unknown> = {};
      await withTable(name, 'readonly', (table) => {
        const request = table.openCursor(IDBKeyRange.bound([device], [device, []]));
        request.onsuccess = () => {
          const cursor = request.result;
          if (!cursor) return;
          found[(cursor.key as string[])[1]!] = cursor.value;
          cursor.continue();
        };
      });
      return readTunings(found);
    },
    async save(device, tunings) {
      await withTable(name, 'readwrite', (table) => {
        for (const [key, tuning] of tunings) table.put(tuning satisfies Tuning, [device, key]);
      });
    },
  };
}

/** Runs one transaction; resolves when it is complete, or failed. */
function withTable(name: string, mode: IDBTransactionMode, work: (table: IDBObjectStore) => void): Promise<void> {
  return new Promise((resolve) => {
    const done = () => resolve();
    let opening: IDBOpenDBRequest;
    try {
      opening = indexedDB.open(name, 1);
    } catch {
      return done();
    }
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE);
    opening.onerror = done;
    opening.onblocked = done;
    opening.onsuccess = () => {
      const database = opening.result;
      const end = () => {
        database.close();
        done();
      };
      try {
        const transaction = database.transaction(TABLE, mode);
        transaction.oncomplete = end;
        transaction.onabort = end;
        work(transaction.objectStore(TABLE));
      } catch {
        end();
      }
    };
  });
}
