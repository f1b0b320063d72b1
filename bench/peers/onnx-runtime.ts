// ONNX Runtime's WebGPU provider in Node. `npm run peers` installs it.
import { createRequire } from 'node:module';
import { openOnnxEncoder } from './onnx-encoder.ts';
import type { OnnxChain, OnnxModel, OnnxProducts, OnnxWeight } from './onnx-model.ts';

/** A tensor of onnxruntime-node; `gpu-buffer` ones stay on the device. */
interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
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

/** Products of a run of ONNX Runtime. */
export interface OrtChain {
  /** The output for the input given at the start: f32 [tokens, outputs]. */
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
  /** Products that follow each other. */
  open(weights: readonly OnnxWeight[], chain: OnnxChain, x: Float32Array): Promise<OrtChain>;
  /** Products of one input, in `sessions` that take turns, run by run, each with its own copy of the weights; the output is that of the first product. */
  openIndependent(
    weights: readonly OnnxWeight[],
    products: OnnxProducts,
    x: Float32Array,
    sessions: number,
  ): Promise<OrtChain>;
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
  const copy = (dims: readonly number[]) => encoder.map('Identity', dims);
  return {
    version: ort.env.versions.common,
    open: (weights, chain, x) => openModel(ort, copy, encoder.products(weights, chain), { x, rows: chain.tokens }),
    openIndependent(weights, products, x, sessions) {
      const model = encoder.independent(weights, { ...products, done: true });
      return openModel(ort, copy, model, { x, rows: products.tokens, sessions });
    },
  };
}

interface Given {
  readonly x: Float32Array;
  readonly rows: number;
  /** Of the same model, which take turns. Default: one. */
  readonly sessions?: number;
}

async function openModel(
  ort: Ort,
  copyOf: (dims: readonly number[]) => OnnxModel,
  { bytes, externalData, inputs, outputs }: OnnxModel,
  { x, rows, sessions = 1 }: Given,
): Promise<OrtChain> {
  const dims = [rows, x.length / rows];
  const open: { release(): Promise<void> }[] = [];
  const release = async () => {
    for (const session of open.splice(0).reverse()) await session.release();
  };
  try {
    // What moves values: the package makes no GPU tensors itself, and `getData` of those that sessions return ends the process. All
    // sessions stay open, since the device goes with the last.
    const upload = await ort.InferenceSession.create(copyOf(dims).bytes, {
      ...SESSION,
      preferredOutputLocation: 'gpu-buffer',
    });
    open.push(upload);
    const { y: input } = await upload.run({ x: new ort.Tensor('float32', x, dims) });
    open.push({ release: async () => input!.dispose() });
    const feeds = Object.fromEntries(inputs.map((name) => [name, input!]));
    const turns: OrtSession[] = [];
    for (let i = 0; i < sessions; i++) {
      const session = await ort.InferenceSession.create(bytes, {
        ...SESSION,
        externalData,
        preferredOutputLocation: {
          ...Object.fromEntries(outputs.map((name) => [name, 'gpu-buffer'])),
          done: 'cpu',
        },
      });
      open.push(session);
      turns.push(session);
    }
    let next = 0;
    const run = async <T>(use: (values: Record<string, OrtTensor>) => T): Promise<Awaited<T>> => {
      const values = await turns[next++ % turns.length]!.run(feeds);
      const used = await use(values);
      for (const name of outputs) values[name]!.dispose();
      return used;
    };
    return {
      output: () =>
        run(async (values) => {
          const y = values[outputs[0]!]!;
          const download = await ort.InferenceSession.create(copyOf(y.dims).bytes, SESSION);
          const { y: host } = await download.run({ x: y });
          await download.release();
          return host!.data;
        }),
      run: () => run(() => undefined),
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}
