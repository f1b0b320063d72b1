// Runs the documented examples, demo/examples, as they are: each opens a device of its own.
import { readWeight } from 'compressa';
import { makeInput, makeWeights } from '../products.ts';

/** What the examples made, with what they made it of. */
export interface ExampleValues {
  /** f32 [tokens, size]: of onnxruntime-web's example, with the weight's codes and scales as stored. */
  readonly onnx: {
    readonly x: readonly number[];
    readonly y: readonly number[];
    readonly weight: Readonly<Record<string, readonly number[]>>;
  };
  /** f32 [size, size] and what TensorFlow.js's example quantized it to. */
  readonly tfjs: {
    readonly values: readonly number[];
    readonly weight: Readonly<Record<string, readonly number[]>>;
    /** What it said of the same values with a NaN among them. */
    readonly refused: string;
  };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);
const listed = (arrays: Readonly<Record<string, Uint8Array>>) =>
  Object.fromEntries(Object.entries(arrays).map(([name, bytes]) => [name, [...bytes]]));

/** @param model `features` = max(`x`, 0), f32 [tokens, size] */
export async function runExamples(size: number, tokens: number, model: Uint8Array): Promise<ExampleValues> {
  return { onnx: await throughOnnxRuntime(size, tokens, model), tfjs: await throughTfjs(size) };
}

async function throughOnnxRuntime(size: number, tokens: number, model: Uint8Array): Promise<ExampleValues['onnx']> {
  const { gpu, openSession, featuresTimesWeight } = await import('../../demo/examples/onnxruntime-web.js');
  try {
    const [weight] = await makeWeights(gpu, 'q8_0', size);
    const x = makeInput(tokens * size);
    const buffer = gpu.memory.allocate(x.byteLength);
    gpu.upload(buffer, bytesOf(x));
    const session = await openSession(model);
    const result = await featuresTimesWeight(session, buffer, tokens, size, weight!);
    const y = new Float32Array((await gpu.readBack(result, 0, 4 * tokens * size)).buffer);
    await session.release();
    return { x: [...x], y: [...y], weight: listed(await readWeight(gpu, weight!)) };
  } finally {
    gpu.close();
  }
}

async function throughTfjs(size: number): Promise<ExampleValues['tfjs']> {
  const { gpu, tensorOf, quantize } = await import('../../demo/examples/tfjs.js');
  try {
    const values = makeInput(size * size);
    const buffer = gpu.memory.allocate(values.byteLength);
    gpu.upload(buffer, bytesOf(values));
    const weight = await quantize(tensorOf(buffer, size, size));
    gpu.upload(buffer, bytesOf(Float32Array.of(Number.NaN)), 4 * (2 * size + 5));
    const refused = await quantize(tensorOf(buffer, size, size)).then(
      () => 'nothing',
      (error: Error) => error.message,
    );
    return { values: [...values], weight: listed(await readWeight(gpu, weight)), refused };
  } finally {
    gpu.close();
  }
}
