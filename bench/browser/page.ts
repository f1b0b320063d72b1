// What run-in-browser.ts calls inside the browser: the same suites as in Node, bundled.
import { httpFolder } from '../../src/files/model-files.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { openPagePeers } from '../contestants/page-peers.ts';
import type { PeerName } from '../peers-page/scripts.ts';
import type { Bench } from '../suite/results-schema.ts';
import { type RunSuitesOptions, runSuites } from '../suite/run-suites.ts';

/** The options of a run that are data. */
export type BenchJob = Pick<
  RunSuitesOptions,
  'engine' | 'environment' | 'quick' | 'tune' | 'suites' | 'filter' | 'cycledBytes' | 'absentPeers'
> & {
  /** Those that are served. */
  readonly peers: readonly PeerName[];
  readonly memoryBudget?: number;
};

/** How far it is; the last has the results or says why there are none. */
export interface BenchState {
  readonly done: number;
  readonly total: number;
  readonly name: string;
  readonly bench?: Bench;
  readonly error?: { readonly code: string; readonly message: string };
}

declare global {
  interface Window {
    startBench(job: BenchJob): void;
    benchState(): BenchState;
    cancelBench(): void;
  }
}

const controller = new AbortController();
let state: BenchState = { done: 0, total: 1, name: '' };

async function run({ memoryBudget, peers, absentPeers = [], ...job }: BenchJob): Promise<Bench> {
  const gpu = await openGpu(memoryBudget === undefined ? {} : { memoryBudget });
  try {
    const { contestants, absent } = await openPagePeers(gpu, peers);
    return await runSuites({
      ...job,
      gpu,
      peers: contestants,
      absentPeers: [...absentPeers, ...absent],
      openModel: async () => httpFolder(new URL('.', location.href).href),
      signal: controller.signal,
      onProgress: (done, total, name) => {
        state = { done, total, name };
      },
    });
  } finally {
    gpu.close();
  }
}

window.startBench = (job) => {
  run(job).then(
    (bench) => {
      state = { ...state, bench };
    },
    (error: Error & { code?: string }) => {
      state = { ...state, error: { code: error.code ?? '', message: error.message } };
    },
  );
};
window.benchState = () => state;
window.cancelBench = () => controller.abort();
