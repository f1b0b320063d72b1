// The engine, onnxruntime-web and TensorFlow.js on one GPUDevice: what the page answers. Each peer gets the engine's device; buffers pass
// between them without a read-back.
import { allocateWeight, formatByName, type Gpu, linearSteps, openGpu, quantizeStep, type Weight } from 'compressa';
import { inPairs } from '../in-pairs.ts';
import { onnxWeight, referenceRow, relativeError } from '../onnx-weights.ts';
import type { OnnxWeight } from '../peers/onnx-model.ts';
import { type Chain, makeInput, makeWeights, openChain } from '../products.ts';
import type { CheckedContestant, LinearShape } from './contestants.ts';
import type { ExampleValues } from './examples.ts';
import { configureOrt, openSession } from './ort.ts';
import type { TfTensor } from './peers.ts';
import { tfTensor, useTfjs } from './tfjs.ts';

/** A chain of products for onnxruntime-web: a model without its weights for each accuracy level, and the paths that it has for them. */
export interface OnnxCase {
  readonly format: string;
  readonly size: number;
  readonly tokens: number;
  readonly pairs: number;
  readonly models: readonly { readonly level: number; readonly bytes: readonly number[] }[];
}

export interface TfjsCase {
  readonly size: number;
  readonly pairs: number;
}

/** Milliseconds of all products of a run, pair by pair; the variant of ours, and what the peer's is called. */
export interface Compared {
  readonly device: string;
  readonly peer: string;
  readonly variant: string;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** Distance of each side's first and last row to the f64 reference, relative to its size: the larger. */
  readonly errors: { readonly ours: number; readonly theirs: number };
}

/** Values that went through all three, and how many buffers anybody mapped for reading meanwhile. */
export interface Passed {
  readonly mapped: number;
  /** Those of reading the result back: what shows that they are counted. */
  readonly mappedBehind: number;
  readonly y: readonly number[];
  readonly x: readonly number[];
  readonly weights: readonly number[];
}

declare global {
  interface Window {
    overOnnxRuntime(job: OnnxCase): Promise<Compared>;
    overTfjs(job: TfjsCase): Promise<Compared>;
    /** x · Wᵀ by onnxruntime-web, then by TensorFlow.js, whose output is quantized and multiplied by the engine. */
    throughAllThree(size: number, model: readonly number[]): Promise<Passed>;
    examples(size: number, tokens: number, model: readonly number[]): Promise<ExampleValues>;
    contestants(shapes: readonly LinearShape[]): Promise<CheckedContestant[]>;
  }
}

configureOrt();

/** Shows up in the message where the page hangs. */
const stage = (name: string) => console.log(name);

interface Peer {
  run(): Promise<void>;
  output(): Promise<Float32Array>;
  release(): Promise<void>;
}

async function milliseconds(chain: Chain | Peer): Promise<number> {
  const start = performance.now();
  await chain.run();
  return performance.now() - start;
}

/** The larger error of a side's first and last row. NaN is the largest. */
function errorsOver(weights: readonly OnnxWeight[], tokens: number, size: number, x: Float32Array) {
  const rows = [...new Set([0, tokens - 1])];
  const of = (values: Float32Array, row: number) => values.subarray(row * size, (row + 1) * size);
  const wanted = rows.map((row) => referenceRow(weights, { tokens, size }, of(x, row)));
  return async (side: Chain | Peer): Promise<number> => {
    const y = await side.output();
    return Math.max(...rows.map((row, i) => relativeError(of(y, row), wanted[i]!)));
  };
}

const pair = async (pairs: number, one: Chain, other: Peer) => {
  const [ours, theirs] = await inPairs(
    pairs,
    () => milliseconds(one),
    () => milliseconds(other),
  );
  return { ours, theirs };
};

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

async function readFloats(gpu: Gpu, buffer: GPUBuffer, count: number): Promise<Float32Array> {
  return floatsOf(await gpu.readBack(buffer, 0, 4 * count));
}

const bytesOf = (values: Uint8Array | Float32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

function externalData(weights: readonly OnnxWeight[]): { path: string; data: Uint8Array }[] {
  return weights.flatMap((weight, i) =>
    weight.kind === 'dense'
      ? [{ path: `weight${i}`, data: bytesOf(weight.values) }]
      : [
          { path: `codes${i}`, data: bytesOf(weight.codes) },
          { path: `scales${i}`, data: bytesOf(weight.scales) },
        ],
  );
}

window.overOnnxRuntime = async ({ format, size, tokens, pairs, models }) => {
  const gpu = await openGpu();
  try {
    stage('making weights');
    const weights = await makeWeights(gpu, format, size);
    const onnx: OnnxWeight[] = [];
    for (const weight of weights) onnx.push(await onnxWeight(gpu, weight));
    const x = makeInput(tokens * size);
    stage('choosing our variant');
    const ours = await openChain(gpu, weights, tokens, x);
    const buffer = gpu.memory.allocate(4 * tokens * size);
    gpu.upload(buffer, bytesOf(x));
    const input = ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [tokens, size] });
    let best: { level: number; peer: Peer; time: number } | undefined;
    for (const { level, bytes } of models) {
      stage(`opening onnxruntime-web at level ${level}`);
      const session = await openSession(gpu.device, Uint8Array.from(bytes), externalData(onnx));
      const run = async () => {
        const outputs = await session.run({ x: input });
        await gpu.idle();
        return outputs;
      };
      const dispose = (outputs: Awaited<ReturnType<typeof run>>) => {
        for (const output of Object.values(outputs)) output.dispose();
      };
      const peer: Peer = {
        async run() {
          dispose(await run());
        },
        async output() {
          const outputs = await run();
          const y = await readFloats(gpu, outputs.y!.gpuBuffer, tokens * size);
          dispose(outputs);
          return y;
        },
        release: () => session.release(),
      };
      await peer.run();
      const time = Math.min(await milliseconds(peer), await milliseconds(peer));
      if (best && best.time <= time) await peer.release();
      else {
        await best?.peer.release();
        best = { level, peer, time };
      }
    }
    stage('checking');
    const errorOf = errorsOver(onnx, tokens, size, x);
    const errors = { ours: await errorOf(ours), theirs: await errorOf(best!.peer) };
    stage('timing');
    const times = await pair(pairs, ours, best!.peer);
    return {
      device: gpu.description.description,
      peer: `onnxruntime-web ${ort.env.versions.web} at level ${best!.level}`,
      variant: ours.variant,
      errors,
      ...times,
    };
  } finally {
    gpu.close();
  }
};

const denseBuffer = (weight: Weight): GPUBuffer => weight.parts[0]!.arrays[0]!.buffer;

window.overTfjs = async ({ size, pairs }) => {
  const gpu = await openGpu();
  try {
    stage('making weights');
    const weights = await makeWeights(gpu, 'f32', size);
    const onnx: OnnxWeight[] = [];
    for (const weight of weights) onnx.push(await onnxWeight(gpu, weight));
    const x = makeInput(size * size);
    const ours = await openChain(gpu, weights, size, x);
    await useTfjs(gpu.device);
    const buffer = gpu.memory.allocate(4 * size * size);
    gpu.upload(buffer, bytesOf(x));
    const input = tfTensor(buffer, size, size);
    // The layout that its products take: [k, n].
    const theirs = onnx.map((weight, i) => {
      if (weight.kind !== 'dense') throw new Error(`weight ${i} is not dense`);
      const transposed = gpu.memory.allocate(4 * size * size);
      gpu.upload(transposed, bytesOf(weight.values));
      return tfTensor(transposed, size, size);
    });
    const multiply = (): TfTensor => {
      let value = input;
      for (const weight of theirs) {
        const next = tf.matMul(value, weight, false, false);
        if (value !== input) value.dispose();
        value = next;
      }
      return value;
    };
    const peer: Peer = {
      async run() {
        const y = multiply();
        // Submits what it has recorded.
        const { tensorRef } = y.dataToGPU();
        await gpu.idle();
        tensorRef.dispose();
        y.dispose();
      },
      async output() {
        const y = multiply();
        const { tensorRef, buffer: from } = y.dataToGPU();
        const values = await readFloats(gpu, from, size * size);
        tensorRef.dispose();
        y.dispose();
        return values;
      },
      release: async () => {},
    };
    const errorOf = errorsOver(onnx, size, size, x);
    const errors = { ours: await errorOf(ours), theirs: await errorOf(peer) };
    stage('timing');
    const times = await pair(pairs, ours, peer);
    return {
      device: gpu.description.description,
      peer: `TensorFlow.js ${tf.version_core}`,
      variant: ours.variant,
      errors,
      ...times,
    };
  } finally {
    gpu.close();
  }
};

/** Counts the buffers that are mapped for reading from now on, on whatever device and by whomever: values reach the host in no other way. */
function countMaps(): () => number {
  let count = 0;
  const map = GPUBuffer.prototype.mapAsync;
  GPUBuffer.prototype.mapAsync = function (this: GPUBuffer, mode, ...rest) {
    if ((mode & GPUMapMode.READ) !== 0) count++;
    return map.call(this, mode, ...rest);
  };
  return () => count;
}

window.throughAllThree = async (size, model) => {
  const gpu = await openGpu();
  try {
    await useTfjs(gpu.device);
    const dense = allocateWeight(gpu, formatByName('f32'), size, size, 'weight');
    const values = makeInput(size * size);
    gpu.upload(denseBuffer(dense), bytesOf(values));
    const onnx = await onnxWeight(gpu, dense);
    const x = makeInput(size);
    const buffer = gpu.memory.allocate(4 * size);
    gpu.upload(buffer, bytesOf(x));
    const mapped = countMaps();
    const session = await openSession(gpu.device, Uint8Array.from(model), externalData([onnx]));
    const input = ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: [1, size] });
    const { y: first } = await session.run({ x: input });
    // Its weight as TensorFlow.js's own tensor: W · W, which the engine quantizes, from the buffer that it came in.
    const w = tfTensor(denseBuffer(dense), size, size);
    const square = tf.matMul(w, w, false, false);
    const { tensorRef, buffer: product } = square.dataToGPU();
    const format = formatByName('q8_0');
    const weight = allocateWeight(gpu, format, size, size, 'square');
    const bad = { buffer: gpu.memory.allocate(4), size: 4 };
    const y = { buffer: gpu.memory.allocate(4 * size), size: 4 * size };
    await gpu.scheduler.run([
      quantizeStep({
        source: dense.format,
        from: { buffer: product, size: 4 * size * size },
        format,
        to: weight.parts[0]!.arrays,
        rows: size,
        k: size,
        bad,
      }),
      ...linearSteps({ x: { buffer: first!.gpuBuffer, size: 4 * size }, weight, y, tokens: 1 }),
    ]);
    await gpu.idle();
    const before = mapped();
    const result = await readFloats(gpu, y.buffer, size);
    tensorRef.dispose();
    await session.release();
    return { mapped: before, mappedBehind: mapped() - before, x: [...x], weights: [...values], y: [...result] };
  } finally {
    gpu.close();
  }
};

// Loaded when asked for, since they open devices.
window.examples = async (size, tokens, model) =>
  (await import('./examples.ts')).runExamples(size, tokens, Uint8Array.from(model));
window.contestants = async (shapes) => (await import('./contestants.ts')).checkContestants(shapes);
