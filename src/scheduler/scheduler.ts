import { CancelledError, DeviceLostError } from '../errors.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Binding, Step } from '../gpu/kernel.ts';
import { checkStep } from './check-step.ts';
import { encodePass, encodeSteps, type Prepared } from './encode.ts';
import { Profile, TIMED } from './profile.ts';

/** How a list of steps runs. */
export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Called as the GPU finishes batches. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Time every step by itself: slow, and never a measure of throughput. */
  readonly profile?: Profile;
  /** What is being done, for messages. */
  readonly label?: string;
}

/** Steps in one command buffer: enough to hide the cost of a submit, few enough to cancel between. */
const BATCH = 64;
/** Batches that may be queued before the host waits, so that cancellation and progress stay near the device. */
const IN_FLIGHT = 2;

/** Steps with pipelines, bind groups and parameters made once; `submit` replays them. */
export interface Recording {
  /** Runs the steps; resolves nothing: wait for the GPU, or read back. */
  submit(): void;
  /** Encodes the steps into a pass of the caller. */
  encode(pass: GPUComputePassEncoder): void;
  /** Frees its parameters; it can't be submitted after. */
  release(): void;
}

/** Turns lists of steps into few command buffers. */
export class Scheduler {
  readonly #gpu: Gpu;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /**
   * Runs the steps in order. Resolves when they are submitted; with `onProgress`, `signal` or `profile` set, when they are done.
   * @throws ArgumentError, CancelledError, DeviceLostError, OutOfMemoryError, ShaderError, GpuValidationError
   */
  async run(steps: readonly Step[], options: RunOptions = {}): Promise<void> {
    const gpu = this.#gpu;
    gpu.throwIfLost();
    throwIfCancelled(options);
    if (steps.length === 0) return;
    await gpu.compiler.prepare(steps);
    throwIfCancelled(options);
    this.#show(steps);
    if (gpu.debug >= 3 && !options.profile) {
      const profile = new Profile(gpu);
      await this.run(steps, { ...options, profile });
      console.error(profile.table());
      return;
    }
    if (options.profile) {
      await options.profile.run(
        steps,
        (chosen, encode) => this.#submit(chosen, encode),
        () => throwIfCancelled(options),
      );
      options.onProgress?.(steps.length, steps.length);
      return;
    }
    const inFlight: Promise<void>[] = [];
    let done = 0;
    const waits = options.signal !== undefined || options.onProgress !== undefined;
    for (let at = 0; at < steps.length; at += BATCH) {
      throwIfCancelled(options);
      const batch = steps.slice(at, at + BATCH);
      await this.#submit(batch, encodePass);
      if (!waits) continue;
      const finished = gpu.idle().then(() => {
        done += batch.length;
        options.onProgress?.(done, steps.length);
      });
      // Where the one before rejects, nobody waits for this one any more.
      finished.catch(() => undefined);
      inFlight.push(finished);
      if (inFlight.length >= IN_FLIGHT) await inFlight.shift();
    }
    await Promise.all(inFlight);
    throwIfCancelled(options);
  }

  /** Prepares steps once, to be submitted many times without any allocation. */
  async record(steps: readonly Step[], label = 'recording'): Promise<Recording> {
    const gpu = this.#gpu;
    await gpu.compiler.prepare(steps);
    let params: GPUBuffer | undefined;
    const release = () => {
      if (params) gpu.memory.releaseUniform(params);
      params = undefined;
    };
    let prepared: readonly Prepared[];
    try {
      prepared = await gpu.guard(label, () => this.#prepare(steps, (params = this.#parameters(steps))));
    } catch (error) {
      release();
      throw error;
    }
    const encode = (pass: GPUComputePassEncoder) => encodeSteps(pass, prepared);
    return {
      encode,
      submit: () => {
        gpu.throwIfLost();
        this.#show(steps);
        if (gpu.debug >= 3 && gpu.features.has('timestamp-query')) return this.#submitTimed(steps, prepared);
        const encoder = gpu.device.createCommandEncoder({ label });
        const pass = encoder.beginComputePass({ label });
        encode(pass);
        pass.end();
        gpu.device.queue.submit([encoder.finish()]);
        gpu.counters.submits++;
      },
      release,
    };
  }

  /** For people who look: a table of the kernels' times follows as soon as the device has run them. */
  #submitTimed(steps: readonly Step[], prepared: readonly Prepared[]): void {
    const gpu = this.#gpu;
    const profile = new Profile(gpu);
    for (let at = 0; at < steps.length; at += TIMED) {
      const stamps = profile.stamp(steps.slice(at, at + TIMED));
      const encoder = gpu.device.createCommandEncoder();
      stamps.encode(encoder, prepared.slice(at, at + TIMED));
      gpu.device.queue.submit([encoder.finish()]);
      gpu.counters.submits++;
      const last = at + TIMED >= steps.length;
      stamps
        .read()
        .then(() => last && console.error(profile.table()))
        .catch(() => {}) // A lost device: whoever waits for the steps says so.
        .finally(() => stamps.destroy());
    }
  }

  async #submit(
    steps: readonly Step[],
    encode: (encoder: GPUCommandEncoder, prepared: readonly Prepared[]) => void,
  ): Promise<void> {
    const gpu = this.#gpu;
    let params: GPUBuffer | undefined;
    try {
      await gpu.guard(steps[0]!.label, () => {
        params = this.#parameters(steps);
        const prepared = this.#prepare(steps, params);
        const encoder = gpu.device.createCommandEncoder({ label: steps[0]!.label });
        encode(encoder, prepared);
        gpu.device.queue.submit([encoder.finish()]);
        gpu.counters.submits++;
      });
    } finally {
      if (params) gpu.memory.releaseUniform(params);
    }
  }

  /** Where the parameters of each step lie in the uniform buffer that they share, and its bytes. */
  #layout(steps: readonly Step[]): { offsets: number[]; size: number } {
    const alignment = this.#gpu.limits.minUniformBufferOffsetAlignment;
    let size = 0;
    const offsets = steps.map((step) => {
      const at = size;
      if (step.params) size += Math.ceil(step.params.byteLength / alignment) * alignment;
      return at;
    });
    return { offsets, size };
  }

  /** The parameters of all steps, in one uniform buffer by one write. */
  #parameters(steps: readonly Step[]): GPUBuffer | undefined {
    const gpu = this.#gpu;
    const { offsets, size } = this.#layout(steps);
    if (size === 0) return undefined;
    const params = gpu.memory.allocateUniform(size);
    const bytes = new Uint8Array(size);
    for (const [i, step] of steps.entries()) if (step.params) bytes.set(new Uint8Array(step.params), offsets[i]!);
    gpu.device.queue.writeBuffer(params, 0, bytes);
    return params;
  }

  /** Bind groups for the steps. */
  #prepare(steps: readonly Step[], params: GPUBuffer | undefined): Prepared[] {
    const gpu = this.#gpu;
    const { offsets } = this.#layout(steps);
    return steps.map((step, i): Prepared => {
      checkStep(gpu.limits, step);
      const { pipeline, layouts } = gpu.compiler.get(step);
      const entries = bindEntries(step.bindings);
      if (step.params) {
        entries.push({
          binding: entries.length,
          resource: { buffer: params!, offset: offsets[i]!, size: step.params.byteLength },
        });
      }
      const groups = [gpu.device.createBindGroup({ label: step.label, layout: layouts[0]!, entries })];
      if (step.weight) {
        groups.push(
          gpu.device.createBindGroup({ label: step.label, layout: layouts[1]!, entries: bindEntries(step.weight) }),
        );
      }
      return { step, pipeline, groups };
    });
  }

  #show(steps: readonly Step[]): void {
    if (this.#gpu.debug < 1) return;
    for (const step of steps)
      console.error(`${step.label.padEnd(48)} ${step.kernel.source.name} [${step.grid.join(', ')}]`);
  }
}

function throwIfCancelled(options: RunOptions): void {
  if (!options.signal?.aborted) return;
  const { reason } = options.signal as { reason?: unknown };
  throw reason instanceof DeviceLostError ? reason : new CancelledError(options.label);
}

function bindEntries(bindings: readonly Binding[]): GPUBindGroupEntry[] {
  return bindings.map(({ buffer, offset, size }, binding) => ({
    binding,
    resource: { buffer, ...(offset !== undefined && { offset }), ...(size !== undefined && { size }) },
  }));
}
