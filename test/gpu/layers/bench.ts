import { afterAll, beforeAll } from 'vitest';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import type { BufferView } from '../../../src/gpu/kernel.ts';
import { openTestGpu } from '../open-test-gpu.ts';

/** One device for a file's tests, and buffers that live until `release`. */
export function openBench() {
  let opened: Gpu | undefined;
  const buffers: GPUBuffer[] = [];
  beforeAll(async () => {
    opened = await openTestGpu();
  });
  afterAll(() => opened?.close());
  return {
    get gpu(): Gpu {
      return opened!;
    },
    /** A buffer of exactly the contents; what lies behind in a pooled buffer is NaN, so that tests see who reads it. */
    upload(values: Float32Array | Uint32Array): BufferView {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const buffer = opened!.memory.allocate(bytes.length);
      buffers.push(buffer);
      const whole = new Uint8Array(buffer.size).fill(0xff);
      whole.set(bytes);
      opened!.upload(buffer, whole);
      return { buffer };
    },
    /** Room for `length` words, all NaN. */
    room(length: number): BufferView {
      return this.upload(new Uint32Array(length).fill(0xffffffff));
    },
    async floats(view: BufferView, length: number): Promise<Float32Array> {
      return new Float32Array((await opened!.readBack(view.buffer, 0, 4 * length)).buffer);
    },
    async words(view: BufferView, length: number): Promise<Uint32Array> {
      return new Uint32Array((await opened!.readBack(view.buffer, 0, 4 * length)).buffer);
    },
    release(): void {
      for (const buffer of buffers.splice(0)) opened!.memory.release(buffer);
    },
  };
}

/** Small, fast, seeded. */
export function generator(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

export const gaussian = (next: () => number) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

export const filled = (length: number, draw: (i: number) => number): Float32Array =>
  Float32Array.from({ length }, (_, i) => draw(i));

/** From 1 to `most`, small ones more often. */
export const size = (next: () => number, most: number) => 1 + Math.floor(next() ** 2 * most);

/** Collects the worst error as a share of what is allowed, and says where it was. */
export class Errors {
  /** Largest |actual - wanted| / allowed; above 1 fails. NaN counts as infinite. */
  worst = 0;
  where = '';

  compare(what: string, actual: ArrayLike<number>, wanted: ArrayLike<number>, allowed: (i: number) => number): void {
    for (let i = 0; i < wanted.length; i++) {
      const error = Math.abs(actual[i]! - wanted[i]!);
      const share = error === 0 ? 0 : error / allowed(i);
      if (Number.isFinite(share) ? share <= this.worst : false) continue;
      this.worst = Number.isFinite(share) ? share : Number.POSITIVE_INFINITY;
      this.where = `${what} [${i}]: ${actual[i]} instead of ${wanted[i]}`;
      if (this.worst === Number.POSITIVE_INFINITY) return;
    }
  }

  /** For `expect(errors.verdict(name)).toBe('')`. */
  verdict(name: string): string {
    if (process.env.COMPRESSA_SHOW_ERRORS) console.log(`${name}: ${this.worst} of the tolerance, ${this.where}`);
    return this.worst <= 1 ? '' : `${this.worst} times the tolerance at ${this.where}`;
  }
}
