import { CompressaError, DeviceLostError, GpuValidationError, OutOfMemoryError } from '../errors.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import { BufferPool } from './buffer-pool.ts';
import { Compiler } from './compiler.ts';
import type { BufferView } from './kernel.ts';
import { resting } from './resting.ts';
import type { SelfTest } from './self-test.ts';

/** How much `COMPRESSA_DEBUG` shows: 1 the steps of each run, 2 also the shaders, 3 also each step's time. */
export type DebugLevel = 0 | 1 | 2 | 3;

/** What the adapter says of itself; empty where it says nothing. */
export interface GpuDescription {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** True where the adapter calls itself a fallback, that is, runs on the CPU. */
  readonly software: boolean;
}

/** Counts that prove what did and did not happen: a read-back is the one thing that stalls a GPU. */
export interface Counters {
  submits: number;
  readBacks: number;
  readBackBytes: number;
  uploadBytes: number;
  pipelines: number;
}

/** Bytes of one staging upload: bounds the memory that a large tensor needs on the host. */
const UPLOAD_CHUNK = 16 * 1024 * 1024;

/** An opened device: limits, features, pipelines, memory, timers, and the scheduler that runs steps on it. */
export class Gpu {
  readonly device: GPUDevice;
  readonly description: GpuDescription;
  readonly limits: GPUSupportedLimits;
  readonly features: ReadonlySet<string>;
  readonly memory: BufferPool;
  readonly compiler: Compiler;
  readonly scheduler: Scheduler;
  readonly debug: DebugLevel;
  /** Most bytes of one storage binding: larger tensors are split over several buffers. */
  readonly bindingLimit: number;
  readonly counters: Counters = { submits: 0, readBacks: 0, readBackBytes: 0, uploadBytes: 0, pipelines: 0 };
  /** The fewest lanes that a subgroup may have; 0 where subgroups are not to be had. */
  readonly subgroupLanes: number;
  /** Sides of the square matrices that subgroups multiply from f16 to f32 (Dawn's experimental subgroup matrices); mostly none. */
  readonly matrixSides: readonly number[];
  /** Facts about the device's arithmetic, filled in by `openGpu`. */
  selfTest: SelfTest | undefined;
  /** Resolves, never rejects, when the device is gone. */
  readonly lost: Promise<DeviceLostError>;
  #lost: DeviceLostError | undefined;
  readonly #ownsDevice: boolean;

  constructor(
    device: GPUDevice,
    description: GpuDescription,
    options: {
      ownsDevice: boolean;
      memoryBudget?: number;
      bindingLimit?: number;
      debug?: DebugLevel;
      matrixSides?: readonly number[];
    },
  ) {
    this.device = device;
    this.description = description;
    this.limits = device.limits;
    this.features = new Set(device.features);
    this.subgroupLanes = device.features.has('subgroups') ? (device.adapterInfo?.subgroupMinSize ?? 0) : 0;
    this.matrixSides = options.matrixSides ?? [];
    this.debug = options.debug ?? 0;
    this.bindingLimit = Math.min(
      options.bindingLimit ?? Number.POSITIVE_INFINITY,
      device.limits.maxStorageBufferBindingSize,
    );
    this.#ownsDevice = options.ownsDevice;
    this.memory = new BufferPool(device, options.memoryBudget);
    this.compiler = new Compiler(this);
    this.scheduler = new Scheduler(this);
    this.lost = device.lost.then((info) => {
      this.#lost = new DeviceLostError(
        `The GPU device was lost (${info.reason ?? 'unknown'}${info.message ? `: ${info.message}` : ''}). Open a new one with openGpu() and repeat the work.`,
      );
      return this.#lost;
    });
  }

  /** @throws DeviceLostError once the device is gone. */
  throwIfLost(): void {
    if (this.#lost) throw this.#lost;
  }

  /**
   * Runs `work` inside error scopes and turns what WebGPU reports into our errors.
   * @throws OutOfMemoryError, GpuValidationError, DeviceLostError
   */
  async guard<T>(what: string, work: () => T | Promise<T>): Promise<T> {
    this.throwIfLost();
    this.device.pushErrorScope('out-of-memory');
    this.device.pushErrorScope('validation');
    let result: T | undefined;
    let failure: unknown;
    // The scopes close before anything asynchronous in `work` continues: scopes are a stack shared by the whole device.
    let pending: T | Promise<T> | undefined;
    try {
      pending = work();
    } catch (error) {
      failure = error;
    }
    const scopes = Promise.all([this.device.popErrorScope(), this.device.popErrorScope()]);
    try {
      if (failure === undefined) result = await pending;
    } catch (error) {
      failure = error;
    }
    const [validation, memory] = await scopes.catch(() => [null, null]);
    this.throwIfLost();
    if (memory)
      throw new OutOfMemoryError(
        `${what}: the GPU is out of memory (${memory.message}). Use a smaller model, window or batch.`,
      );
    if (validation) throw new GpuValidationError(`${what}: ${validation.message}`);
    if (failure !== undefined) throw await this.explain(failure);
    return result as T;
  }

  /** Whatever rejected because the device vanished becomes a DeviceLostError. */
  async explain(error: unknown): Promise<unknown> {
    if (error instanceof CompressaError) return error;
    // A rejected map or submit can arrive a moment before the loss is announced.
    const lost = await Promise.race([
      this.lost,
      new Promise<undefined>((resolve) => setTimeout(resolve, 50, undefined)),
    ]);
    return lost ?? error;
  }

  /** Copies host bytes into a buffer, in chunks; `offset` and the length are multiples of 4. */
  upload(buffer: GPUBuffer, bytes: Uint8Array, offset = 0): void {
    this.throwIfLost();
    for (let at = 0; at < bytes.byteLength; at += UPLOAD_CHUNK) {
      const chunk = bytes.subarray(at, Math.min(at + UPLOAD_CHUNK, bytes.byteLength));
      this.device.queue.writeBuffer(buffer, offset + at, chunk as Uint8Array<ArrayBuffer>);
    }
    this.counters.uploadBytes += bytes.byteLength;
  }

  /** Fills the first `size` bytes of a buffer (a multiple of 4) with zeros. */
  clear(buffer: GPUBuffer, size = buffer.size): void {
    this.throwIfLost();
    const encoder = this.device.createCommandEncoder({ label: 'clear' });
    encoder.clearBuffer(buffer, 0, size);
    this.device.queue.submit([encoder.finish()]);
    this.counters.submits++;
  }

  /** Copies `size` bytes (multiples of 4) of a buffer to the host; waits for everything submitted before. */
  async readBack(buffer: GPUBuffer, offset = 0, size = buffer.size - offset): Promise<Uint8Array<ArrayBuffer>> {
    return (await this.readBackAll([{ buffer, offset, size }]))[0]!;
  }

  /** Copies several ranges to the host, all in one read. */
  async readBackAll(views: readonly BufferView[]): Promise<Uint8Array<ArrayBuffer>[]> {
    const sizes = views.map(({ buffer, offset = 0, size = buffer.size - offset }) => size);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    if (total === 0) return sizes.map(() => new Uint8Array(0));
    const staging = this.memory.allocateStaging(total);
    this.counters.readBacks++;
    this.counters.readBackBytes += total;
    try {
      await this.guard('Reading back', () => {
        const encoder = this.device.createCommandEncoder({ label: 'read back' });
        let at = 0;
        for (const [i, { buffer, offset = 0 }] of views.entries()) {
          encoder.copyBufferToBuffer(buffer, offset, staging, at, sizes[i]!);
          at += sizes[i]!;
        }
        this.device.queue.submit([encoder.finish()]);
        return resting(staging.mapAsync(GPUMapMode.READ, 0, total));
      });
      const mapped = new Uint8Array(staging.getMappedRange(0, total));
      let at = 0;
      const copies = sizes.map((size) => mapped.slice(at, (at += size)));
      staging.unmap();
      return copies;
    } finally {
      this.memory.releaseStaging(staging);
    }
  }

  /** Waits until the GPU has done everything submitted so far. */
  async idle(): Promise<void> {
    this.throwIfLost();
    await resting(this.device.queue.onSubmittedWorkDone().catch(() => undefined));
    this.throwIfLost();
  }

  /** Frees all memory; also the device, unless the caller brought it. */
  close(): void {
    this.memory.destroy();
    if (this.#ownsDevice) this.device.destroy();
  }
}
