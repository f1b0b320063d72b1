import { CancelledError } from '../errors.ts';
import type { Gpu, GpuDescription } from '../gpu/gpu.ts';
import type { Step } from '../gpu/kernel.ts';
import type { SelfTest } from '../gpu/self-test.ts';
import {
  ARITHMETIC_BYTES,
  type Arithmetic,
  arithmeticStep,
  copyBytes,
  copyStep,
  hasArithmetic,
} from './roofline-steps.ts';
import { median } from './statistics.ts';

/** The limits that decide what fits and which kernels run. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
  'minUniformBufferOffsetAlignment',
] as const;

/** What a device is and can do. */
export interface DeviceFacts extends GpuDescription {
  readonly features: readonly string[];
  /** As WebGPU has them: sizes and alignments in bytes, the others are counts. */
  readonly limits: Readonly<Record<(typeof LIMITS)[number], number>>;
  readonly selfTest: SelfTest | undefined;
}

/** Medians over repeats. A multiply-add counts as two operations. */
export interface DeviceMeasures {
  /** Bytes read plus bytes written, per second, in units of 1e9. */
  readonly copyGigabytesPerSecond: number;
  readonly f32GigaOperationsPerSecond: number;
  /** Null where the device has no `shader-f16`. */
  readonly f16GigaOperationsPerSecond: number | null;
  /** `dot4I8Packed` and the accumulation. Null where the device lacks it. */
  readonly i8GigaOperationsPerSecond: number | null;
  /** One small dispatch among many in a pass. */
  readonly dispatchMicroseconds: number;
  /** From submitting one small dispatch until the host knows that it is done. */
  readonly submitMicroseconds: number;
  /** Copying 4 bytes to the host. */
  readonly readBackMicroseconds: number;
}

/** How a device is measured. */
export interface MeasureOptions {
  readonly signal?: AbortSignal;
  /** Measurements done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Default 7. */
  readonly repeats?: number;
}

/** Each sample lasts at least this long, so that submitting it does not count. */
const SAMPLE_MILLISECONDS = 40;
/** A slow device is measured less often: three times at least. */
const MEASURE_SECONDS = 3;
const MAX_STEPS_PER_SAMPLE = 256;
const LATENCY_DISPATCHES = 256;

/** What the device is and can; limits in bytes where they are sizes. */
export function describeDevice(gpu: Gpu): DeviceFacts {
  const limits = Object.fromEntries(LIMITS.map((name) => [name, gpu.limits[name]])) as DeviceFacts['limits'];
  return { ...gpu.description, features: [...gpu.features].sort(), limits, selfTest: gpu.selfTest };
}

/**
 * What the device does per second: the yardsticks for every kernel.
 * @throws CancelledError, DeviceLostError, OutOfMemoryError
 */
export async function measureDevice(gpu: Gpu, options: MeasureOptions = {}): Promise<DeviceMeasures> {
  const { signal, onProgress, repeats = 7 } = options;
  const total = 7;
  let done = 0;
  const next = async <T>(work: () => Promise<T>): Promise<T> => {
    if (signal?.aborted) throw new CancelledError('Measuring the device');
    const result = await work();
    onProgress?.(++done, total);
    return result;
  };
  return {
    copyGigabytesPerSecond: await next(() => copyRate(gpu, repeats)),
    f32GigaOperationsPerSecond: await next(() => arithmeticRate(gpu, 'f32', repeats)),
    f16GigaOperationsPerSecond: await next(() => rateWhereThere(gpu, 'f16', repeats)),
    i8GigaOperationsPerSecond: await next(() => rateWhereThere(gpu, 'i8', repeats)),
    dispatchMicroseconds: await next(() => dispatchTime(gpu, repeats)),
    submitMicroseconds: await next(() => submitTime(gpu, repeats)),
    readBackMicroseconds: await next(() => readBackTime(gpu, repeats)),
  };
}

async function copyRate(gpu: Gpu, repeats: number): Promise<number> {
  const bytes = copyBytes(gpu);
  return withBuffers(gpu, [bytes, bytes], async (source, target) => {
    const step = copyStep(source, target, bytes);
    return (2 * bytes) / (await secondsPerStep(gpu, step, repeats)) / 1e9;
  });
}

const rateWhereThere = async (gpu: Gpu, kind: Arithmetic, repeats: number): Promise<number | null> =>
  hasArithmetic(gpu, kind) ? arithmeticRate(gpu, kind, repeats) : null;

async function arithmeticRate(gpu: Gpu, kind: Arithmetic, repeats: number): Promise<number> {
  return withBuffers(gpu, [ARITHMETIC_BYTES.operands, ARITHMETIC_BYTES.results], async (operands, results) => {
    const step = arithmeticStep(gpu, kind, { operands: { buffer: operands }, results: { buffer: results } });
    return step.operations! / (await secondsPerStep(gpu, step, repeats)) / 1e9;
  });
}

async function dispatchTime(gpu: Gpu, repeats: number): Promise<number> {
  return withBuffers(gpu, [64, 64], async (source, target) => {
    const steps = Array<Step>(LATENCY_DISPATCHES).fill(copyStep(source, target, 64));
    return ((await secondsOf(gpu, steps, repeats)) / LATENCY_DISPATCHES) * 1e6;
  });
}

async function submitTime(gpu: Gpu, repeats: number): Promise<number> {
  return withBuffers(
    gpu,
    [64, 64],
    async (source, target) => (await secondsOf(gpu, [copyStep(source, target, 64)], 3 * repeats)) * 1e6,
  );
}

async function readBackTime(gpu: Gpu, repeats: number): Promise<number> {
  return withBuffers(gpu, [64], async (buffer) => {
    const times: number[] = [];
    await gpu.readBack(buffer, 0, 4);
    for (let i = 0; i < 3 * repeats; i++) {
      const start = performance.now();
      await gpu.readBack(buffer, 0, 4);
      times.push(performance.now() - start);
    }
    return median(times) * 1e3;
  });
}

/** Seconds of one step, from samples of as many as make a sample long. */
async function secondsPerStep(gpu: Gpu, step: Step, repeats: number): Promise<number> {
  const once = await secondsOf(gpu, [step], 1);
  const count = Math.max(1, Math.min(MAX_STEPS_PER_SAMPLE, Math.ceil(SAMPLE_MILLISECONDS / 1000 / once)));
  const affordable = Math.max(3, Math.min(repeats, Math.floor(MEASURE_SECONDS / once / count)));
  return (await secondsOf(gpu, Array<Step>(count).fill(step), affordable)) / count;
}

/** Median seconds from submitting the steps until they are done; the first run, which warms up, does not count. */
async function secondsOf(gpu: Gpu, steps: readonly Step[], repeats: number): Promise<number> {
  const recording = await gpu.scheduler.record(steps, 'measure');
  try {
    const times: number[] = [];
    for (let i = 0; i <= repeats; i++) {
      await gpu.idle();
      const start = performance.now();
      recording.submit();
      await gpu.idle();
      if (i > 0) times.push((performance.now() - start) / 1e3);
    }
    return median(times);
  } finally {
    recording.release();
  }
}

async function withBuffers<T>(
  gpu: Gpu,
  sizes: readonly number[],
  work: (...buffers: GPUBuffer[]) => Promise<T>,
): Promise<T> {
  const buffers: GPUBuffer[] = [];
  try {
    for (const size of sizes) buffers.push(gpu.memory.allocate(size, 'measure'));
    return await work(...buffers);
  } finally {
    for (const buffer of buffers) gpu.memory.release(buffer);
    gpu.memory.trim();
  }
}
