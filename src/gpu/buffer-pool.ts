import { OutOfMemoryError } from '../errors.ts';

/** Sizes are rounded up to an eighth of their power of two, so that freed buffers fit again and at most 1/8 is wasted. */
export function poolSize(bytes: number): number {
  const wanted = Math.max(16, Math.ceil(bytes / 16) * 16);
  const step = Math.max(16, 2 ** Math.floor(Math.log2(wanted)) / 8);
  return Math.ceil(wanted / step) * step;
}

const USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST: the constants exist only once a GPU was provided.
const UNIFORM_USAGE = 0x40 | 0x08; // UNIFORM | COPY_DST
const STAGING_USAGE = 0x01 | 0x08; // MAP_READ | COPY_DST

type Kind = 'storage' | 'uniform' | 'staging';
const USAGES: Record<Kind, number> = { storage: USAGE, uniform: UNIFORM_USAGE, staging: STAGING_USAGE };

/**
 * Buffers by size class. A released buffer is handed out again at once: the queue runs in order, so whoever gets it writes
 * after its last reader. Contents are undefined.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #free = new Map<string, GPUBuffer[]>();
  readonly #all = new Set<GPUBuffer>();
  /** Most bytes to hold at a time, in use or free. */
  readonly budget: number;
  #bytes = 0;
  #inUse = 0;
  #peak = 0;

  constructor(device: GPUDevice, budget = Number.POSITIVE_INFINITY) {
    this.#device = device;
    this.budget = budget;
  }

  /** Bytes in use now. */
  get bytesInUse(): number {
    return this.#inUse;
  }

  /** Most bytes that were in use at a time since the last `resetPeak`. */
  get peakBytes(): number {
    return this.#peak;
  }

  /** Begins a new peak at what is in use. */
  resetPeak(): void {
    this.#peak = this.#inUse;
  }

  /**
   * A storage buffer of at least `bytes`.
   * @throws OutOfMemoryError when it is larger than the device allows or the budget is spent.
   */
  allocate(bytes: number, label = ''): GPUBuffer {
    return this.#take('storage', bytes, label);
  }

  /** A buffer for the parameters of a step. */
  allocateUniform(bytes: number): GPUBuffer {
    return this.#take('uniform', bytes, 'parameters');
  }

  /** A buffer through which results reach the host. */
  allocateStaging(bytes: number): GPUBuffer {
    return this.#take('staging', bytes, 'staging');
  }

  /** Takes a storage buffer back, for whoever allocates next. */
  release(buffer: GPUBuffer): void {
    this.#give('storage', buffer);
  }

  /** The same for one of `allocateUniform`. */
  releaseUniform(buffer: GPUBuffer): void {
    this.#give('uniform', buffer);
  }

  /** The same for one of `allocateStaging`. */
  releaseStaging(buffer: GPUBuffer): void {
    this.#give('staging', buffer);
  }

  /** Destroys the buffers that nobody uses. */
  trim(): void {
    for (const buffers of this.#free.values()) {
      for (const buffer of buffers) {
        this.#all.delete(buffer);
        this.#bytes -= buffer.size;
        buffer.destroy();
      }
    }
    this.#free.clear();
  }

  /** Destroys every buffer, also those in use. */
  destroy(): void {
    for (const buffer of this.#all) buffer.destroy();
    this.#all.clear();
    this.#free.clear();
    this.#bytes = this.#inUse = 0;
  }

  #take(kind: Kind, bytes: number, label: string): GPUBuffer {
    const size = poolSize(bytes);
    const free = this.#free.get(`${kind} ${size}`)?.pop();
    const buffer = free ?? this.#create(kind, size, label);
    this.#inUse += buffer.size;
    this.#peak = Math.max(this.#peak, this.#inUse);
    return buffer;
  }

  #create(kind: Kind, size: number, label: string): GPUBuffer {
    const limit = this.#device.limits.maxBufferSize;
    if (size > limit) {
      throw new OutOfMemoryError(
        `${label || 'A buffer'} needs ${size} bytes; this device allows ${limit} in one buffer.`,
      );
    }
    if (this.#bytes + size > this.budget) this.trim();
    if (this.#bytes + size > this.budget) {
      throw new OutOfMemoryError(
        `${label || 'A buffer'} needs ${size} bytes more than the ${this.#inUse} in use; the budget is ${this.budget} bytes. Raise it (--gpu-memory on the command line, else memoryBudget), or use a smaller model or window.`,
      );
    }
    const buffer = this.#device.createBuffer({ size, usage: USAGES[kind], label });
    this.#all.add(buffer);
    this.#bytes += size;
    return buffer;
  }

  #give(kind: Kind, buffer: GPUBuffer): void {
    if (!this.#all.has(buffer)) return; // the pool was destroyed meanwhile
    const key = `${kind} ${buffer.size}`;
    const list = this.#free.get(key) ?? [];
    if (list.includes(buffer)) throw new Error(`Buffer "${buffer.label}" was released twice.`);
    list.push(buffer);
    this.#free.set(key, list);
    this.#inUse -= buffer.size;
  }
}
