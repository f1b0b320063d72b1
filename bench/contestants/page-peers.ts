// The peers of a page, as far as they are installed and run there.
import type { Gpu } from '../../src/gpu/gpu.ts';
import { loadPeer, type PeerName } from '../peers-page/scripts.ts';
import type { Contestant } from '../suite/contestant.ts';
import type { AbsentPeer } from '../suite/results-schema.ts';
import { onnxWebContestants } from './onnx-web-contestants.ts';
import type { Peers } from './peers.ts';
import { tfjsContestants } from './tfjs-contestants.ts';

const OPEN: Readonly<Record<PeerName, (gpu: Gpu) => Contestant[] | Promise<Contestant[]>>> = {
  'onnxruntime-web': onnxWebContestants,
  'TensorFlow.js': tfjsContestants,
};

/** Loads peers into the page and opens them on the engine's device; one that fails is absent. */
export async function openPagePeers(gpu: Gpu, names: readonly PeerName[]): Promise<Omit<Peers, 'close'>> {
  const contestants: Contestant[] = [];
  const absent: AbsentPeer[] = [];
  for (const name of names) {
    try {
      await loadPeer(name);
      contestants.push(...(await OPEN[name](gpu)));
    } catch (error) {
      absent.push({ name, reason: `it can't be opened: ${error instanceof Error ? error.message : String(error)}` });
    }
  }
  return { contestants, absent };
}
