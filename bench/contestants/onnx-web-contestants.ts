// onnxruntime-web as contestants of the suite in a page, on the engine's device.
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import schema from '../peers/onnx.proto?raw';
import { onnxEncoder } from '../peers/onnx-model.ts';
import { configureOrt, openSession } from '../peers-page/ort.ts';
import type { OrtSession, OrtTensor } from '../peers-page/peers.ts';
import type { Contestant, LinearWork, Prepared } from '../suite/contestant.ts';
import { readFloats } from '../suite/recorded.ts';
import { ACCURACY_LEVELS, type AccuracyLevel, onnxName, onnxWork } from './onnx-work.ts';

const INCLUDED =
  "input, outputs and weights stay on the device, outputs come from its pool and go back behind each run, and the queue's end is waited for as ours is";

/** onnxruntime-web with WebGPU on a device. Its script has to be there. */
export function onnxWebContestants(gpu: Gpu): Contestant[] {
  configureOrt();
  const encoder = onnxEncoder(protobuf.parse(schema).root.lookupType('onnx.ModelProto'));
  const note = `onnxruntime-web ${ort.env.versions.web}, its WebGPU provider on the engine's device`;
  const prepare = async (work: LinearWork, accuracy: AccuracyLevel): Promise<Prepared | undefined> => {
    const onnx = await onnxWork(work, accuracy, INCLUDED);
    if (!onnx) return undefined;
    const { batch, k, n, x } = work;
    const model = encoder.independent(onnx.weights, onnx.products);
    const buffers = new Scratch(gpu);
    const sessions: OrtSession[] = [];
    const release = async () => {
      for (const session of sessions) await session.release();
      buffers.release();
    };
    try {
      const { buffer } = buffers.upload(x, 'x');
      const input = ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [batch, k] });
      const feeds = Object.fromEntries(model.inputs.map((name) => [name, input]));
      for (let i = 0; i < onnx.sessions; i++) {
        sessions.push(await openSession(gpu.device, model.bytes, model.externalData));
      }
      let next = 0;
      const run = async (use?: (first: OrtTensor) => Promise<Float32Array>): Promise<Float32Array | undefined> => {
        const outputs = await sessions[next++ % sessions.length]!.run(feeds);
        await gpu.idle();
        const used = await use?.(outputs[model.outputs[0]!]!);
        for (const output of Object.values(outputs)) output.dispose();
        return used;
      };
      return {
        run: async () => void (await run()),
        check: async () => (await run((first) => readFloats(gpu, first.gpuBuffer, batch * n)))!,
        release,
        ...onnx.prepared,
        note: `${note}. ${onnx.prepared.note}`,
      };
    } catch (error) {
      await release();
      throw error;
    }
  };
  return ACCURACY_LEVELS.map((accuracy) => ({
    name: onnxName('onnxruntime-web', accuracy),
    note,
    prepare: async (work) => (work.kind === 'linear' ? prepare(work, accuracy) : undefined),
  }));
}
