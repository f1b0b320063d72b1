// The peers of Node, as far as they are installed.
import { llamaAbsence } from '../peers/llama-timer.ts';
import { openLlamaPeers } from './llama-contestants.ts';
import { onnxContestants } from './onnx-contestants.ts';
import type { PeerOptions, Peers } from './peers.ts';

/** Those of `npm run peers`; none computes before a case asks it. */
export function openNodePeers(options: PeerOptions): Peers {
  const onnx = onnxContestants();
  const llama = openLlamaPeers(options, llamaAbsence());
  return {
    contestants: [...(typeof onnx === 'string' ? [] : onnx), ...llama.contestants],
    absent: [...(typeof onnx === 'string' ? [{ name: 'ONNX Runtime', reason: onnx }] : []), ...llama.absent],
    close: llama.close,
  };
}
