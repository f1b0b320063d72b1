// ONNX Runtime's WebGPU provider in Node. `npm run peers` installs it.
import { createRequire } from 'node:module';
import { type OnnxChain, type OnnxWeight, openOnnxEncoder } from './onnx-model.ts';

/** A tensor of onnxruntime-node; `gpu-buffer` ones stay on the device. */
interface OrtTensor {
  readonly data: Float32Array;
  dispose(): void;
}

interface OrtSession {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

interface Ort {
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => OrtTensor;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
  readonly env: { readonly versions: { readonly node?: string; readonly common: string } };
}

/** Products that follow each other, in a session of ONNX Runtime. */
export interface OrtChain {
  /** The output for the input given at the start: f32 [tokens, size]. */
  output(): Promise<Float32Array>;
  /**
   * Runs all products once and waits until the device is done. The input is on the device and the output stays there; four bytes are
   * read back, since a session has no other way to wait.
   */
  run(): Promise<void>;
  release(): Promise<void>;
}

export interface OnnxRuntime {
  readonly version: string;
  open(weights: readonly OnnxWeight[], chain: OnnxChain, x: Float32Array): Promise<OrtChain>;
}

const SESSION = {
  executionProviders: ['webgpu'],
  logSeverityLevel: 3,
};

/** ONNX Runtime, or what to do about its absence. */
export function openOnnxRuntime(): OnnxRuntime | string {
  const encoder = openOnnxEncoder();
  if (typeof encoder === 'string') return encoder;
  let ort: Ort;
  try {
    ort = createRequire(import.meta.url)('onnxruntime-node');
  } catch (error) {
    return `ONNX Runtime is not installed: npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  return {
    version: ort.env.versions.common,
    async open(weights, chain, x) {
      const dims = [chain.tokens, chain.size];
      // What moves values: the package makes no GPU tensors itself, and `getData` of those that sessions return ends the process. Both
      // stay open, since the device goes with the last session.
      const copy = encoder.copy(dims).bytes;
      const upload = await ort.InferenceSession.create(copy, { ...SESSION, preferredOutputLocation: 'gpu-buffer' });
      const download = await ort.InferenceSession.create(copy, SESSION);
      const { y: input } = await upload.run({ x: new ort.Tensor('float32', x, dims) });
      const { bytes, externalData } = encoder.products(weights, chain);
      const session = await ort.InferenceSession.create(bytes, {
        ...SESSION,
        externalData,
        preferredOutputLocation: { y: 'gpu-buffer', done: 'cpu' },
      });
      const feeds = { x: input! };
      return {
        async output() {
          const { y } = await session.run(feeds);
          const { y: host } = await download.run({ x: y! });
          y!.dispose();
          return host!.data;
        },
        async run() {
          const { y } = await session.run(feeds);
          y!.dispose();
        },
        async release() {
          await session.release();
          input!.dispose();
          await upload.release();
          await download.release();
        },
      };
    },
  };
}
