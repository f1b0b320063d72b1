import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView } from '../../src/gpu/kernel.ts';

/** Buffers that are freed together. */
export class Buffers {
  readonly #gpu: Gpu;
  readonly #made: GPUBuffer[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  room(bytes: number, label: string): BufferView & { readonly size: number } {
    const buffer = this.#gpu.memory.allocate(bytes, label);
    this.#made.push(buffer);
    return { buffer, size: bytes };
  }

  filled(
    values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
    label: string,
  ): BufferView & { readonly size: number } {
    const view = this.room(values.byteLength, label);
    this.#gpu.upload(view.buffer, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return view;
  }

  release(): void {
    for (const buffer of this.#made.splice(0)) this.#gpu.memory.release(buffer);
  }
}

/** Lends buffers to whoever opens a case with them; they are freed where that fails, else by the case. */
export async function withBuffers<T>(gpu: Gpu, open: (buffers: Buffers) => Promise<T>): Promise<T> {
  const buffers = new Buffers(gpu);
  try {
    return await open(buffers);
  } catch (error) {
    buffers.release();
    throw error;
  }
}
