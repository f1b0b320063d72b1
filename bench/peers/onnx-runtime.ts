// ONNX Runtime's WebGPU provider in Node. `npm run peers` installs it.
import { createRequire } from 'node:module';
import { type OnnxChain, type OnnxModel, type OnnxProducts, type OnnxWeight, openOnnxEncoder } from './onnx-model.ts';

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
  /** The same for products of one input; the output is that of the first. */
  openIndependent(weights: readonly OnnxWeight[], products: OnnxProducts, x: Float32Array): Promise<OrtChain>;
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
    open: (weights, chain, x) =>
      openModel(ort, encoder.copy, encoder.products(weights, chain), { x, rows: chain.tokens, outputs: ['y'] }),
    openIndependent: (weights, products, x) => {
      const outputs = Array.from({ length: products.count }, (_, i) => `y${i}`);
      const model = encoder.independent(weights, products);
      // Optimized, products with the same weight would become one.
      const optimize = products.count <= weights.length;
      return openModel(ort, encoder.copy, model, { x, rows: products.tokens, outputs, optimize });
    },
  };
}

interface Given {
  readonly x: Float32Array;
  readonly rows: number;
  /** Names of what stays on the device. */
  readonly outputs: readonly string[];
  readonly optimize?: boolean;
}

async function openModel(
  ort: Ort,
  copyOf: (dims: readonly number[]) => OnnxModel,
  { bytes, externalData }: OnnxModel,
  { x, rows, outputs, optimize = true }: Given,
): Promise<OrtChain> {
  const dims = [rows, x.length / rows];
  // What moves values: the package makes no GPU tensors itself, and `getData` of those that sessions return ends the process. All
  // sessions stay open, since the device goes with the last.
  const upload = await ort.InferenceSession.create(copyOf(dims).bytes, {
    ...SESSION,
    preferredOutputLocation: 'gpu-buffer',
  });
  const { y: input } = await upload.run({ x: new ort.Tensor('float32', x, dims) });
  const session = await ort.InferenceSession.create(bytes, {
    ...SESSION,
    ...(!optimize && { graphOptimizationLevel: 'disabled' }),
    externalData,
    preferredOutputLocation: {
      ...Object.fromEntries(outputs.map((name) => [name, 'gpu-buffer'])),
      done: 'cpu',
    },
  });
  const run = async <T>(use: (values: Record<string, OrtTensor>) => T): Promise<Awaited<T>> => {
    const values = await session.run({ x: input! });
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
    async release() {
      await session.release();
      input!.dispose();
      await upload.release();
    },
  };
}
