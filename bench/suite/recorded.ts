import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView, Step } from '../../src/gpu/kernel.ts';
import type { Recording } from '../../src/scheduler/scheduler.ts';
import type { Prepared } from './contestant.ts';

/**
 * A contestant whose runs are recorded lists of steps: each run submits the next list and waits for the device. Several lists are for weights that take turns, more than
 * one run can hold.
 */
export async function recorded(
  gpu: Gpu,
  runs: readonly (readonly Step[])[],
  rest: Omit<Prepared, 'run'>,
): Promise<Prepared> {
  const recordings: Recording[] = [];
  const release = () => {
    for (const recording of recordings) recording.release();
    return rest.release();
  };
  try {
    for (const steps of runs) recordings.push(await gpu.scheduler.record(steps, 'timed'));
  } catch (error) {
    await release();
    throw error;
  }
  let next = 0;
  return {
    ...rest,
    run: () => {
      recordings[next++ % recordings.length]!.submit();
      return gpu.idle();
    },
    release,
  };
}

/** Reads f32 back. */
export async function readFloats(gpu: Gpu, buffer: GPUBuffer, count: number): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array((await gpu.readBack(buffer, 0, 4 * count)).buffer);
}

/** Fills buffers with bits that are NaN as floats of any size: what is left unwritten shows, also where another contestant wrote it. */
export function poison(gpu: Gpu, views: readonly BufferView[]): void {
  for (const { buffer, offset = 0, size = buffer.size - offset } of views) {
    gpu.upload(buffer, new Uint8Array(size).fill(0xff), offset);
  }
}

/** What steps make of an output that held NaN before. */
export async function freshOutput(
  gpu: Gpu,
  steps: readonly Step[],
  buffer: GPUBuffer,
  count: number,
): Promise<Float32Array<ArrayBuffer>> {
  poison(gpu, [{ buffer, size: 4 * count }]);
  await gpu.scheduler.run(steps);
  return readFloats(gpu, buffer, count);
}
