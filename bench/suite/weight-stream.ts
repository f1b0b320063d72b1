import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import { linearSteps } from '../../src/kernels/linear.ts';
import { linearCandidates } from '../../src/kernels/linear-variants.ts';
import type { Recording } from '../../src/scheduler/scheduler.ts';
import { copyStep } from '../../src/verify/roofline-steps.ts';
import { WeightMaker } from '../../src/verify/synthetic-weights.ts';
import { pairedRatio, type Ratio } from './statistics.ts';

const PAIRS = 15;
/** Timings of each variant, to choose one. */
const LOOKS = 3;

/** Products of one token with weights that follow each other, all of them distinct memory. */
export interface WeightStream {
  readonly variant: string;
  readonly bytes: number;
  /** Bytes of weights a second, of the bytes that a copy of as many reads and writes. */
  readonly ofCopy: Ratio;
}

/**
 * A token times so many weights of one size that they take `bytes`, beside a copy of as many bytes; runs take turns.
 * @throws OutOfMemoryError
 */
export async function measureWeightStream(
  gpu: Gpu,
  {
    format: name,
    rows,
    k,
    bytes,
  }: { readonly format: string; readonly rows: number; readonly k: number; readonly bytes: number },
): Promise<WeightStream> {
  const format = formatByName(name);
  const maker = new WeightMaker(gpu);
  const scratch = new Scratch(gpu);
  const recordings: Recording[] = [];
  try {
    const one = await maker.make([{ name: 'first', shape: [rows, k], role: 'linear' }], () => format);
    const count = Math.ceil(bytes / one.get('first')!.byteLength) - 1;
    const names = Array.from({ length: count }, (_, i) => ({
      name: `${i}`,
      shape: [rows, k],
      role: 'linear' as const,
    }));
    const weights = [...one.values(), ...(await maker.make(names, () => format)).values()];
    const x = scratch.upload(new Float32Array(k).fill(0.5), 'x');
    const y = scratch.room(4 * rows, 'y');
    const record = async (variant: string) => {
      const steps = weights.flatMap((weight) => linearSteps({ x, weight, y, tokens: 1, variant }));
      const recording = await gpu.scheduler.record(steps, 'products');
      recordings.push(recording);
      return recording;
    };
    const seconds = async (recording: Recording): Promise<number> => {
      const start = performance.now();
      recording.submit();
      await gpu.idle();
      return (performance.now() - start) / 1000;
    };
    let best: { variant: string; recording: Recording; time: number } | undefined;
    for (const { name: variant } of linearCandidates(gpu, { rows, k, tokens: 1 })) {
      const recording = await record(variant);
      await seconds(recording);
      const times: number[] = [];
      for (let look = 0; look < LOOKS; look++) times.push(await seconds(recording));
      const time = Math.min(...times);
      if (!best || time < best.time) best = { variant, recording, time };
    }
    const total = weights.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const parts = weights.flatMap((weight) => weight.parts.flatMap(({ arrays }) => arrays));
    const target = scratch.room(Math.max(...parts.map(({ buffer }) => buffer.size)), 'copies');
    const copies = parts.map(({ buffer }) => copyStep(buffer, target.buffer, buffer.size));
    const copied = copies.reduce((sum, step) => sum + step.bytes!, 0);
    const copying = await gpu.scheduler.record(copies, 'copying');
    recordings.push(copying);
    await seconds(copying);
    const [products, copy] = [[] as number[], [] as number[]];
    for (let i = 0; i < PAIRS; i++) {
      copy.push((await seconds(copying)) / copied);
      products.push((await seconds(best!.recording)) / total);
    }
    return { variant: best!.variant, bytes: total, ofCopy: pairedRatio(copy, products) };
  } finally {
    for (const recording of recordings) recording.release();
    scratch.release();
    maker.release();
    gpu.memory.trim();
  }
}
