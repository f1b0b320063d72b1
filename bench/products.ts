// Products that follow each other, with weights of their own, on our side: what peers are compared with.
import {
  allocateWeight,
  type BufferView,
  formatByName,
  type Gpu,
  linearSteps,
  linearVariantsFor,
  median,
  quantizeStep,
  type Weight,
} from 'compressa';
import { random } from './random.ts';

/** Products in a chain, so that the fixed cost of a run is spread. */
export const PRODUCTS = 8;

/** Variants that are timed, as far as the device has them: up to four tokens, and for more. */
const VECTOR = [
  'vector-1',
  'vector-4',
  'vector-16',
  'vector-32',
  'vector-64',
  'broadcast-1',
  'broadcast-2',
  'broadcast-4',
];
const MATRIX = ['tile-4', 'tile-8', 'broadcast-4', 'broadcast-8'];

/** Square weights of one format, quantized on the GPU from f32 values whose products keep the size of what they are multiplied with. */
export async function makeWeights(gpu: Gpu, format: string, size: number): Promise<Weight[]> {
  const next = random(1);
  const amplitude = 2 * Math.sqrt(3 / size);
  const values = new Float32Array(size * size);
  const weights: Weight[] = [];
  for (let i = 0; i < PRODUCTS; i++) {
    for (let at = 0; at < values.length; at++) values[at] = (next() - 0.5) * amplitude;
    const dense = allocateWeight(gpu, formatByName('f32'), size, size, `dense ${i}`);
    const from = dense.parts[0]!.arrays[0]!;
    gpu.upload(from.buffer, new Uint8Array(values.buffer));
    if (format === 'f32') {
      weights.push(dense);
      continue;
    }
    const weight = allocateWeight(gpu, formatByName(format), size, size, `${format} ${i}`);
    const bad: BufferView = { buffer: gpu.memory.allocate(4), size: 4 };
    const to = weight.parts[0]!.arrays;
    await gpu.scheduler.run([
      quantizeStep({ source: dense.format, from, format: weight.format, to, rows: size, k: size, bad }),
    ]);
    await gpu.idle();
    gpu.memory.release(bad.buffer);
    dense.release();
    weights.push(weight);
  }
  return weights;
}

/** Values from −1 to 1. */
export function makeInput(length: number): Float32Array {
  const next = random(2);
  return Float32Array.from({ length }, () => 2 * next() - 1);
}

/** Products that follow each other, recorded. */
export interface Chain {
  /** The name of the variant that took the least time. */
  readonly variant: string;
  /** f32 [tokens, size] */
  output(): Promise<Float32Array>;
  /** Runs all products once and waits until the device is done. */
  run(): Promise<void>;
  release(): void;
}

/** Records x times all weights, one after another, with the variant that takes the least time. */
export async function openChain(gpu: Gpu, weights: readonly Weight[], tokens: number, x: Float32Array): Promise<Chain> {
  const size = weights[0]!.k;
  const bytes = x.byteLength;
  const buffers = [0, 1, 2].map(() => gpu.memory.allocate(bytes));
  const views = buffers.map((buffer): BufferView => ({ buffer, size: bytes }));
  gpu.upload(buffers[0]!, new Uint8Array(x.buffer, x.byteOffset, bytes));
  // The input stays as it is; values take turns in the other two.
  const value = (i: number) => (i === 0 ? views[0]! : views[1 + (i % 2)]!);
  const record = (variant: string) =>
    gpu.scheduler.record(
      weights.flatMap((weight, i) => linearSteps({ x: value(i), weight, y: value(i + 1), tokens, variant })),
      'products',
    );
  const variants = linearVariantsFor(gpu, { rows: size, k: size, tokens })
    .map(({ name }) => name)
    .filter((name) => (tokens <= 4 ? VECTOR : MATRIX).includes(name));
  const recordings = await Promise.all(variants.map(record));
  const run = async (i: number): Promise<number> => {
    const start = performance.now();
    recordings[i]!.submit();
    await gpu.idle();
    return performance.now() - start;
  };
  const times = variants.map((): number[] => []);
  // The first round warms up; variants take turns, so that a busy moment hits all of them.
  for (let round = 0; round < 4; round++) {
    for (const [i, list] of times.entries()) {
      const time = await run(i);
      if (round > 0) list.push(time);
    }
  }
  const medians = times.map(median);
  const best = medians.indexOf(Math.min(...medians));
  return {
    variant: variants[best]!,
    async run() {
      await run(best);
    },
    async output() {
      await run(best);
      const y = await gpu.readBack(value(weights.length).buffer, 0, tokens * size * 4);
      return new Float32Array(y.buffer, y.byteOffset, tokens * size);
    },
    release() {
      for (const recording of recordings) recording.release();
      for (const buffer of buffers) gpu.memory.release(buffer);
    },
  };
}
