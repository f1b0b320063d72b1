// TensorFlow.js as a contestant of the suite in a page, on the engine's device.
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import { transpose } from '../onnx-layouts.ts';
import type { TfTensor } from '../peers-page/peers.ts';
import { tfTensor, useTfjs } from '../peers-page/tfjs.ts';
import type { Contestant, LinearWork, Prepared } from '../suite/contestant.ts';
import { readFloats } from '../suite/recorded.ts';

/** TensorFlow.js with its WebGPU backend on a device. Its scripts have to be there. */
export async function tfjsContestants(gpu: Gpu): Promise<Contestant[]> {
  await useTfjs(gpu.device);
  const note = `TensorFlow.js ${tf.version_core}, its WebGPU backend on the engine's device`;
  return [
    {
      name: 'TensorFlow.js',
      note,
      prepare: async (work) =>
        work.kind === 'linear' && work.format === 'f32' ? prepareProducts(gpu, work, note) : undefined,
    },
  ];
}

async function prepareProducts(gpu: Gpu, work: LinearWork, note: string): Promise<Prepared> {
  const { batch, k, n, count, copies, x } = work;
  const buffers = new Scratch(gpu);
  try {
    const input = tfTensor(buffers.upload(x, 'x').buffer, batch, k);
    // The layout that its products take as it is: [k, n].
    const values = transpose(await work.weights(), n, k);
    const weights = Array.from({ length: copies }, () => tfTensor(buffers.upload(values, 'weight').buffer, k, n));
    let next = 0;
    const multiply = (): TfTensor => tf.matMul(input, weights[next++ % copies]!, false, false);
    /** Hands over an output, which submits all that was recorded. */
    const finish = async <T>(y: TfTensor, use: (buffer: GPUBuffer) => Promise<T>): Promise<T> => {
      const { tensorRef, buffer } = y.dataToGPU();
      try {
        return await use(buffer);
      } finally {
        tensorRef.dispose();
        y.dispose();
      }
    };
    return {
      run() {
        for (let i = 1; i < count; i++) multiply().dispose();
        return finish(multiply(), () => gpu.idle());
      },
      check: () => finish(multiply(), (buffer) => readFloats(gpu, buffer, batch * n)),
      note: `${note}. matMul: ${count} products of one input in a run, over ${copies} copies of the weight, which lie as [k, n]; input, outputs and weights stay on the device; with a copy of the last output, which is how it is made to submit, and the queue's end is waited for as ours is`,
      release() {
        for (const tensor of [input, ...weights]) tensor.dispose();
        buffers.release();
      },
    };
  } catch (error) {
    buffers.release();
    throw error;
  }
}
