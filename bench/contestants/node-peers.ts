// The peers of Node, as far as they are installed and compute on the run's device.
import { provideGpu } from '../../src/gpu/provider.ts';
import { llamaAbsence } from '../peers/llama-timer.ts';
import { sameDevice } from '../peers/same-device.ts';
import { openLlamaPeers } from './llama-contestants.ts';
import { onnxContestants } from './onnx-contestants.ts';
import type { PeerOptions, Peers } from './peers.ts';

/** Those of `npm run peers`; none computes before a case asks it. */
export async function openNodePeers(options: PeerOptions): Promise<Peers> {
  const installed = onnxContestants();
  const onnx = typeof installed === 'string' ? installed : (elsewhere(options.device, await onnxDevice()) ?? installed);
  const llama = openLlamaPeers(options, llamaAbsence());
  if (typeof onnx === 'string') llama.absent.unshift({ name: 'ONNX Runtime', reason: onnx });
  return { ...llama, contestants: [...(typeof onnx === 'string' ? [] : onnx), ...llama.contestants] };
}

/** Why ONNX Runtime is not to be compared with: it computes on another device than ours. */
export const elsewhere = (ours: string, theirs: string): string | undefined =>
  sameDevice(ours, theirs)
    ? undefined
    : `it computes on ${theirs || 'a device that is not told'}, whichever is asked for; ours is measured on ${ours}`;

/** What ONNX Runtime computes on, which it neither says nor lets one choose: the adapter that Dawn has for high performance. */
async function onnxDevice(): Promise<string> {
  const adapter = await (await provideGpu({})).requestAdapter({ powerPreference: 'high-performance' });
  return adapter?.info.device || adapter?.info.description || '';
}
