// The peers of a page as contestants of the suite, held to its reference.
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { openPagePeers } from '../contestants/page-peers.ts';
import type { SuiteContext } from '../suite/suite.ts';
import { linearCase } from '../suite/suites/linear.ts';
import { PEER_SCRIPTS, type PeerName } from './scripts.ts';

export interface LinearShape {
  readonly format: string;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
}

/** What a contestant made of a case, after runs that have to leave it unchanged. */
export interface CheckedContestant {
  readonly name: string;
  readonly case: string;
  readonly error: number;
  readonly tolerance: number;
}

/** Every peer's error in every case that it does. @throws Error where one can't be opened */
export async function checkContestants(shapes: readonly LinearShape[]): Promise<CheckedContestant[]> {
  const gpu = await openGpu();
  try {
    const { contestants, absent } = await openPagePeers(gpu, Object.keys(PEER_SCRIPTS) as PeerName[]);
    if (absent[0]) throw new Error(`${absent[0].name}: ${absent[0].reason}`);
    // Little enough that some weights take turns over several runs, and large ones return in one.
    const context: SuiteContext = {
      ...{ gpu, quick: true, peers: [], cycledBytes: 2 ** 18 },
      openModel: () => Promise.reject(new Error('These cases have no model.')),
    };
    const checked: CheckedContestant[] = [];
    for (const { format, n, k, batch } of shapes) {
      const one = linearCase(format, n, k, batch);
      const opened = await one.open(context);
      for (const { name, prepare } of contestants) {
        const prepared = await prepare(opened.work);
        if (!prepared) continue;
        for (let i = 0; i < 3; i++) await prepared.run();
        const error = await opened.reference!.error(await prepared.check!());
        checked.push({ name, case: one.name, error, tolerance: prepared.tolerance ?? opened.reference!.tolerance });
        await prepared.release();
      }
      opened.release();
    }
    return checked;
  } finally {
    gpu.close();
  }
}
