import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';

/** Lends buffers to whoever opens a case with them; they are freed where that fails, else by the case. */
export async function withBuffers<T>(gpu: Gpu, open: (buffers: Scratch) => Promise<T>): Promise<T> {
  const buffers = new Scratch(gpu);
  try {
    return await open(buffers);
  } catch (error) {
    buffers.release();
    throw error;
  }
}
