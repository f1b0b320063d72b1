import type { Gpu } from './gpu.ts';
import type { BufferView } from './kernel.ts';

/** Buffers that live as long as a piece of work. */
export class Scratch {
  readonly #gpu: Gpu;
  readonly #buffers: GPUBuffer[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Room for `size` bytes, a multiple of 4; what it holds is undefined. @throws OutOfMemoryError */
  room(size: number, label: string): BufferView {
    const buffer = this.#gpu.memory.allocate(size, label);
    this.#buffers.push(buffer);
    return { buffer, size };
  }

  /** A copy of 32-bit numbers. @throws OutOfMemoryError */
  upload(values: Float32Array | Uint32Array, label: string): BufferView {
    const view = this.room(values.byteLength, label);
    this.#gpu.upload(view.buffer, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return view;
  }

  release(): void {
    for (const buffer of this.#buffers.splice(0)) this.#gpu.memory.release(buffer);
  }
}
