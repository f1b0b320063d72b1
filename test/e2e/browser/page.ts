// What browser.test.ts calls inside the browser: the same source as in Node, bundled.
import {
  allocateWeight,
  compress,
  cutWindows,
  encodeText,
  formatByName,
  type GpuDescription,
  httpFolder,
  indexedDbTuningStore,
  linearSteps,
  memoryFolder,
  memoryOutput,
  openCheckpoint,
  openGpu,
  openModel,
  quantizeStep,
  type Recipe,
  type Tuning,
} from '../../../src/index.ts';
import { sampleValues } from './sample-values.ts';

export interface PageResult {
  readonly device: GpuDescription;
  /** SHA-256 of every file written, and of every tensor among them. */
  readonly files: Record<string, string>;
  readonly tensors: Record<string, string>;
  readonly promptTokens: readonly number[];
  readonly tokens: readonly number[];
  readonly pieces: readonly string[];
  /** Bytes of GPU memory in use before the model was opened, and after it was closed. */
  readonly memory: readonly [number, number];
}

/** A calibrated compression, and the text for it: windows of so many tokens. */
export interface CalibratedJob {
  readonly recipe: Recipe;
  readonly text: string;
  readonly windows: number;
  readonly window: number;
}

export interface BroughtResult {
  readonly readBacks: number;
  readonly y: readonly number[];
  /** The device still works after `gpu.close()`. */
  readonly alive: boolean;
}

declare global {
  interface Window {
    compressAndWrite(modelUrl: string, prompt: string, maxTokens: number): Promise<PageResult>;
    /** SHA-256 of every file written. */
    compressCalibrated(modelUrl: string, job: CalibratedJob): Promise<Record<string, string>>;
    onBroughtDevice(rows: number, k: number): Promise<BroughtResult>;
    /** Saves each of the tunings from a store of its own, all at once, and gives back what another store loads for each device. */
    keepTunings(
      saved: readonly (readonly [device: string, key: string, tuning: Tuning])[],
    ): Promise<Record<string, [string, Tuning][]>>;
  }
}

/** Shows up in the test's message where the page hangs. */
const stage = (name: string) => console.log(name);

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function sha256OfEach(
  files: Iterable<readonly [string, Uint8Array<ArrayBuffer>]>,
): Promise<Record<string, string>> {
  const sums: Record<string, string> = {};
  for (const [name, bytes] of files) sums[name] = await sha256(bytes);
  return sums;
}

window.compressAndWrite = async (modelUrl, prompt, maxTokens) => {
  stage('opening the GPU');
  const gpu = await openGpu();
  try {
    stage('compressing');
    const output = memoryOutput();
    await compress(httpFolder(modelUrl), output, { gpu, format: 'q4_0' });
    const files = await sha256OfEach(output.files);
    const folder = memoryFolder('compressed', Object.fromEntries(output.files));

    stage('reading the compressed model');
    const checkpoint = await openCheckpoint(folder);
    const tensors: Record<string, string> = {};
    for (const [name, info] of checkpoint.tensors) tensors[name] = await sha256((await checkpoint.read(info)).slice());
    await checkpoint.close();

    stage('opening the model');
    const before = gpu.memory.bytesInUse;
    const model = await openModel(folder, { gpu, maxPositions: 64 });
    stage('writing a text');
    const pieces: string[] = [];
    const run = model.generate(prompt, { maxTokens });
    for (;;) {
      const { value, done } = await run.next();
      if (!done) {
        pieces.push(value);
        continue;
      }
      await model.close();
      const { promptTokens, tokens } = value;
      const memory = [before, gpu.memory.bytesInUse] as const;
      return { device: gpu.description, files, tensors, promptTokens, tokens, pieces, memory };
    }
  } finally {
    gpu.close();
  }
};

window.compressCalibrated = async (modelUrl, { recipe, text, windows, window }) => {
  stage('opening the GPU');
  const gpu = await openGpu();
  try {
    stage('encoding the text');
    const model = await openCheckpoint(httpFolder(modelUrl));
    const tokens = await encodeText(model, text);
    await model.close();
    stage('compressing with calibration');
    const output = memoryOutput();
    const calibration = { windows: cutWindows(tokens, { windows, window }) };
    await compress(httpFolder(modelUrl), output, { gpu, recipe, calibration });
    return await sha256OfEach(output.files);
  } finally {
    gpu.close();
  }
};

window.onBroughtDevice = async (rows, k) => {
  stage('opening a device of the page');
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  const gpu = await openGpu({ device });
  stage('computing on it');
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const make = (values: Float32Array<ArrayBuffer>): GPUBuffer => {
    const buffer = device.createBuffer({ size: values.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, values);
    return buffer;
  };
  const matrix = make(sampleValues(rows * k));
  const x = make(sampleValues(k));
  const y = make(new Float32Array(rows));
  const bad = make(new Float32Array(1));
  const format = formatByName('q4_0');
  const weight = allocateWeight(gpu, format, rows, k, 'brought');
  const before = gpu.counters.readBacks;
  const source = formatByName('f32');
  await gpu.scheduler.run([
    quantizeStep({
      source,
      from: { buffer: matrix },
      format,
      to: weight.parts[0]!.arrays,
      rows,
      k,
      bad: { buffer: bad },
    }),
    ...linearSteps({ x: { buffer: x }, weight, y: { buffer: y }, tokens: 1 }),
  ]);
  const readBacks = gpu.counters.readBacks - before;
  weight.release();
  gpu.close();

  // By hand: the device and the buffers are still the page's.
  const staging = device.createBuffer({ size: rows * 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(y, 0, staging, 0, rows * 4);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const result = [...new Float32Array(staging.getMappedRange())];
  const alive = await Promise.race([
    device.lost.then(() => false),
    device.queue.onSubmittedWorkDone().then(() => true),
  ]);
  device.destroy();
  return { readBacks, y: result, alive };
};

window.keepTunings = async (saved) => {
  stage('saving');
  await Promise.all(
    saved.map(([device, key, tuning]) => indexedDbTuningStore('kept by a test').save(device, new Map([[key, tuning]]))),
  );
  stage('loading');
  const loaded: Record<string, [string, Tuning][]> = {};
  for (const [device] of saved) loaded[device] = [...(await indexedDbTuningStore('kept by a test').load(device))];
  return loaded;
};
