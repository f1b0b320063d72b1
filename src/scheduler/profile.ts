import type { Gpu } from '../gpu/gpu.ts';
import type { Step } from '../gpu/kernel.ts';
import { encodePass, encodeTimed, type Prepared } from './encode.ts';

/** Time and traffic of one kind of step. */
export interface StepTime {
  readonly label: string;
  readonly kernel: string;
  readonly milliseconds: number;
  readonly bytes: number;
  readonly operations: number;
}

/** Steps timed by one set of timestamp queries. */
export const TIMED = 256;

type Encode = (encoder: GPUCommandEncoder, prepared: readonly Prepared[]) => void;

/** One submission's timestamps. */
export interface Stamps {
  readonly encode: Encode;
  /** Adds the times to the profile. */
  read(): Promise<void>;
  destroy(): void;
}

/** Collects the time of each step: by timestamps where the device has them, else by waiting after each. */
export class Profile {
  readonly times: StepTime[] = [];
  readonly #gpu: Gpu;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Called by the scheduler. */
  async run(
    steps: readonly Step[],
    submit: (steps: readonly Step[], encode: Encode) => Promise<void>,
    check: () => void,
  ): Promise<void> {
    if (!this.#gpu.features.has('timestamp-query')) return this.#runByWaiting(steps, submit, check);
    for (let at = 0; at < steps.length; at += TIMED) {
      check();
      await this.#runChunk(steps.slice(at, at + TIMED), submit);
    }
  }

  async #runChunk(
    steps: readonly Step[],
    submit: (steps: readonly Step[], encode: Encode) => Promise<void>,
  ): Promise<void> {
    const stamps = this.stamp(steps);
    try {
      await submit(steps, stamps.encode);
      await stamps.read();
    } finally {
      stamps.destroy();
    }
  }

  /** Timestamps around each of these steps, on a device that has them: encode, submit, read, destroy. */
  stamp(steps: readonly Step[]): Stamps {
    const gpu = this.#gpu;
    const count = 2 * steps.length;
    const querySet = gpu.device.createQuerySet({ type: 'timestamp', count });
    const resolved = gpu.device.createBuffer({ size: 8 * count, usage: 0x200 | 0x04 }); // QUERY_RESOLVE | COPY_SRC
    return {
      encode: (encoder, prepared) => {
        encodeTimed(encoder, prepared, querySet);
        encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      },
      read: async () => {
        const times = new BigUint64Array((await gpu.readBack(resolved)).buffer);
        for (const [i, step] of steps.entries()) this.#add(step, Number(times[2 * i + 1]! - times[2 * i]!) / 1e6);
      },
      destroy: () => {
        querySet.destroy();
        resolved.destroy();
      },
    };
  }

  async #runByWaiting(
    steps: readonly Step[],
    submit: (steps: readonly Step[], encode: Encode) => Promise<void>,
    check: () => void,
  ): Promise<void> {
    await this.#gpu.idle();
    for (const step of steps) {
      check();
      const start = performance.now();
      await submit([step], encodePass);
      await this.#gpu.idle();
      this.#add(step, performance.now() - start);
    }
  }

  #add(step: Step, milliseconds: number): void {
    this.times.push({
      label: step.label,
      kernel: step.kernel.source.name,
      milliseconds,
      bytes: step.bytes ?? 0,
      operations: step.operations ?? 0,
    });
  }

  /** Total time by kernel, longest first, as text. */
  table(): string {
    const byKernel = new Map<string, { count: number; milliseconds: number; bytes: number; operations: number }>();
    for (const time of this.times) {
      const sum = byKernel.get(time.kernel) ?? { count: 0, milliseconds: 0, bytes: 0, operations: 0 };
      sum.count++;
      sum.milliseconds += time.milliseconds;
      sum.bytes += time.bytes;
      sum.operations += time.operations;
      byKernel.set(time.kernel, sum);
    }
    const rows = [...byKernel].sort((a, b) => b[1].milliseconds - a[1].milliseconds);
    const head = `${'kernel'.padEnd(36)} ${'steps'.padStart(6)} ${'ms'.padStart(10)} ${'GB/s'.padStart(8)} ${'Gop/s'.padStart(8)}`;
    const body = rows.map(
      ([kernel, sum]) =>
        `${kernel.padEnd(36)} ${String(sum.count).padStart(6)} ${sum.milliseconds.toFixed(3).padStart(10)} ${(sum.bytes / sum.milliseconds / 1e6).toFixed(1).padStart(8)} ${(sum.operations / sum.milliseconds / 1e6).toFixed(1).padStart(8)}`,
    );
    return [head, ...body].join('\n');
  }
}
