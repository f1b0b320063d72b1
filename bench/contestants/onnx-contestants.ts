// ONNX Runtime in Node as contestants of the suite.
import { openOnnxRuntime } from '../peers/onnx-runtime.ts';
import type { Contestant } from '../suite/contestant.ts';
import { ACCURACY_LEVELS, onnxName, onnxWork } from './onnx-work.ts';

/** ONNX Runtime's WebGPU provider in Node, or what to do about its absence. */
export function onnxContestants(): readonly Contestant[] | string {
  const ort = openOnnxRuntime();
  if (typeof ort === 'string') return ort;
  const note = `onnxruntime-node ${ort.version}, its WebGPU provider on a device of its own`;
  const included =
    'input, outputs and weights stay on the device, outputs come from its pool and go back behind each run, and four bytes are read back to wait for it';
  return ACCURACY_LEVELS.map((accuracy) => ({
    name: onnxName('ONNX Runtime', accuracy),
    note,
    async prepare(work) {
      if (work.kind !== 'linear') return undefined;
      const onnx = await onnxWork(work, accuracy, included);
      if (!onnx) return undefined;
      const chain = await ort.openIndependent(onnx.weights, onnx.products, work.x, onnx.sessions);
      return {
        run: chain.run,
        check: chain.output,
        release: chain.release,
        ...onnx.prepared,
        note: `${note}. ${onnx.prepared.note}`,
      };
    },
  }));
}
