import { OutOfMemoryError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import type { Graph } from '../graph/graph.ts';
import { randomUniform } from '../graph/reference/random.ts';
import { quantizeSteps, scaleRoomBytes } from '../kernels/quantize.ts';
import { allocateWeight, type Weight } from '../kernels/weight.ts';
import { SHAPES_1B, stackGraph } from '../models/stack.ts';
import { matrixShape } from '../passes/stored-weight.ts';
import { speedRunBytes } from './memory-estimate.ts';
import { pooledBytes } from './run-bytes.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

/** Layers with synthetic weights, whose speed is measured. */
export interface Stack {
  readonly description: string;
  readonly shapes: Parameters<typeof stackGraph>[0];
}

/** Two layers as a model of a billion weights has them, with a small vocabulary, so that the head does not hide them. */
export const STACK_1B: Stack = {
  description: '2 layers with the shapes of Llama 3.2 1B and a vocabulary of 4096, synthetic weights',
  shapes: { ...SHAPES_1B, layers: 2, vocabulary: 4096 },
};

/** Fewer tokens and seconds: one layer of these shapes costs as much as a small model, and on a CPU far too much for a long prompt. */
const SPEED = { prefillTokens: 128, decodeTokens: 4, seconds: 6 } as const;
const SPEED_ON_CPU = { prefillTokens: 8, decodeTokens: 2, seconds: 6 } as const;
const POSITIONS = SPEED.prefillTokens + SPEED.decodeTokens;

/** Random weights that are repeated over the rows of every matrix: their values do not matter to speed, and making each anew would take long. */
const RANDOM_WEIGHTS = 2 ** 20;

const graphOfStack = ({ shapes }: Stack): Graph => stackGraph({ ...shapes, maxPositions: POSITIONS });

/** Bytes on the GPU that `measureStack` takes. */
export function stackBytes(stack: Stack, format: Format): number {
  const graph = graphOfStack(stack);
  const blocks = new Map<string, number>();
  let weights = 0;
  for (const { shape, role } of graph.weights) {
    const { rows, k } = matrixShape(shape);
    for (const one of role === 'linear' ? [formatByName('f32'), formatByName('f16'), format] : [formatOfRest(role)]) {
      weights += pooledBytes(one, rows, k);
      blocks.set(`${one.name} ${k}`, pooledBytes(one, blockRows(k), k));
    }
  }
  const random = [...blocks.values()].reduce((sum, bytes) => sum + bytes, 4 * RANDOM_WEIGHTS);
  const run = speedRunBytes({ original: graph, compressed: graph }, SPEED, () => format.activations !== undefined);
  return weights + random + run;
}

/** Rows of a block of random weights, so that copies of it start on whole words. */
const blockRows = (k: number): number => Math.floor(RANDOM_WEIGHTS / k / 8) * 8;

const formatOfRest = (role: string): Format => formatByName(role === 'embedding' ? 'f16' : 'f32');

/**
 * Speed of layers as large models have them, which a small model hides: weights made on the GPU, with the linear matrices in f32, in f16 and
 * in `format`.
 * @throws OutOfMemoryError, before the work where the estimate exceeds the budget; CancelledError
 */
export async function measureStack(
  gpu: Gpu,
  stack: Stack,
  format: Format,
  options: Pick<SpeedOptions, 'signal' | 'onProgress' | 'rounds' | 'seconds'> = {},
): Promise<Speed> {
  const bytes = stackBytes(stack, format);
  if (gpu.memory.bytesInUse + bytes > gpu.memory.budget) {
    throw new OutOfMemoryError(`${stack.description}: about ${bytes} bytes; the budget is ${gpu.memory.budget}.`);
  }
  const graph = graphOfStack(stack);
  const tokens = gpu.description.software ? SPEED_ON_CPU : SPEED;
  const maker = new WeightMaker(gpu, options.signal);
  const lend = <T>(weights: ReadonlyMap<string, Weight>, work: Parameters<typeof withDecoder<T>>[4]) =>
    withDecoder(gpu, graph, weights, POSITIONS, work);
  const linear = graph.weights.filter(({ role }) => role === 'linear');
  try {
    const rest = await maker.make(
      graph.weights.filter(({ role }) => role !== 'linear'),
      formatOfRest,
    );
    const inFormat = async (one: Format) => new Map([...rest, ...(await maker.make(linear, () => one))]);
    const wide = await inFormat(formatByName('f32'));
    const half = await inFormat(formatByName('f16'));
    const small = await inFormat(format);
    return await lend(wide, (f32) =>
      lend(half, (f16) =>
        lend(small, (compressed) => measureSpeed({ f32, f16, compressed }, { ...tokens, ...options })),
      ),
    );
  } finally {
    maker.release();
    gpu.memory.trim();
  }
}

/** Makes weights from one block of random numbers, on the GPU. */
class WeightMaker {
  readonly #gpu: Gpu;
  readonly #signal: AbortSignal | undefined;
  readonly #made: Weight[] = [];
  readonly #random: Weight;
  readonly #bad: BufferView;
  /** The block in each format, as matrices of each width. */
  readonly #blocks = new Map<string, Weight>();

  constructor(gpu: Gpu, signal?: AbortSignal) {
    this.#gpu = gpu;
    this.#signal = signal;
    this.#bad = { buffer: gpu.memory.allocate(4, 'bad weight') };
    this.#random = allocateWeight(gpu, formatByName('f32'), 1, RANDOM_WEIGHTS, 'random weights');
    const values = Float32Array.from({ length: RANDOM_WEIGHTS }, (_, i) => (randomUniform(0, i) - 0.5) / 16);
    gpu.upload(this.#random.parts[0]!.arrays[0]!.buffer, new Uint8Array(values.buffer));
  }

  async make(weights: Graph['weights'], formatOf: (role: string) => Format): Promise<Map<string, Weight>> {
    const result = new Map<string, Weight>();
    for (const { name, shape, role } of weights) {
      checkCancelled(this.#signal, 'The speed measurement');
      const { rows, k } = matrixShape(shape);
      const block = await this.#block(formatOf(role), k);
      // In an error scope of its own, so that a GPU that is full says so.
      await this.#gpu.guard('Synthetic layers', () => {
        const weight = allocateWeight(this.#gpu, block.format, rows, k, name);
        this.#made.push(weight);
        result.set(name, weight);
        this.#fill(weight, block);
      });
    }
    return result;
  }

  async #block(format: Format, k: number): Promise<Weight> {
    const key = `${format.name} ${k}`;
    const known = this.#blocks.get(key);
    if (known) return known;
    const block = allocateWeight(this.#gpu, format, blockRows(k), k, 'random weights');
    this.#made.push(block);
    const room = scaleRoomBytes(format, block.rows, k);
    const buffer = room > 0 ? this.#gpu.memory.allocate(room, 'random scales') : undefined;
    try {
      await this.#gpu.scheduler.run(
        block.parts.flatMap((part) =>
          quantizeSteps({
            source: this.#random.format,
            from: this.#random.parts[0]!.arrays[0]!,
            format,
            to: part.arrays,
            rows: part.rows,
            k,
            bad: this.#bad,
            name: 'random weights',
            scaleRoom: buffer && { buffer },
          }),
        ),
      );
    } finally {
      if (buffer) this.#gpu.memory.release(buffer);
    }
    this.#blocks.set(key, block);
    return block;
  }

  /** Copies the block's arrays, again and again, until those of the weight are full. */
  #fill({ format, k, parts }: Weight, block: Weight): void {
    const encoder = this.#gpu.device.createCommandEncoder({ label: 'synthetic weights' });
    const { rows, arrays: from } = block.parts[0]!;
    for (const part of parts) {
      for (const [i, array] of format.arrays.entries()) {
        const to = part.arrays[i]!;
        const [once, all] = [contentBytes(array, rows, k), arrayBytes(array, part.rows, k)];
        for (let at = 0; at < all; at += once) {
          const count = Math.min(once, all - at);
          encoder.copyBufferToBuffer(from[i]!.buffer, from[i]!.offset ?? 0, to.buffer, (to.offset ?? 0) + at, count);
        }
      }
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  release(): void {
    releaseWeights([...this.#made, this.#random]);
    this.#gpu.memory.release(this.#bad.buffer);
  }
}
