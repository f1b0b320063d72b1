import { OutOfMemoryError } from '../errors.ts';
import { resizedFormat } from '../formats/blocks.ts';
import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import type { Weight } from '../kernels/weight.ts';
import { SHAPES_1B, stackGraph } from '../models/stack.ts';
import { matrixShape } from '../passes/stored-weight.ts';
import { speedRunBytes } from './memory-estimate.ts';
import { pooledBytes } from './run-bytes.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { blockRows, RANDOM_WEIGHTS, WeightMaker, widthOfValues } from './synthetic-weights.ts';
import { withDecoder } from './with-decoder.ts';

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

const graphOfStack = ({ shapes }: Stack): Graph => stackGraph({ ...shapes, maxPositions: POSITIONS });

/** Bytes on the GPU that `measureStack` takes. @throws FormatError where matrices of its sizes can't have the format */
export function stackBytes(stack: Stack, format: Format): number {
  const graph = graphOfStack(stack);
  const blocks = new Map<string, number>();
  let weights = 0;
  for (const { shape, role } of graph.weights) {
    const { rows, k } = matrixShape(shape);
    const formats = [formatByName('f32'), formatByName('f16'), resizedFormat(format, rows, k)];
    for (const one of role === 'linear' ? formats : [formatOfRest(role)]) {
      weights += pooledBytes(one, rows, k);
      if (one.blocks) {
        const width = widthOfValues(one.blocks);
        const { values } = one.blocks;
        blocks.set(`${one.name} ${rows} ${k}`, pooledBytes(one, rows, k));
        blocks.set(`${values.name} ${width}`, pooledBytes(values, blockRows(width), width));
        continue;
      }
      blocks.set(`${one.name} ${k}`, pooledBytes(one, blockRows(k), k));
      const { packed } = one;
      if (!packed) continue;
      const { slots } = packed.layout(rows, k);
      blocks.set(`${packed.values.name} ${slots}`, pooledBytes(packed.values, blockRows(slots), slots));
    }
  }
  const random = [...blocks.values()].reduce((sum, bytes) => sum + bytes, 4 * RANDOM_WEIGHTS);
  const run = speedRunBytes({ original: graph, compressed: graph }, SPEED, () => format.activations !== undefined);
  return weights + random + run;
}

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
  options: Pick<SpeedOptions, 'signal' | 'onProgress' | 'rounds' | 'seconds'> & {
    readonly tuner?: VariantChoice | undefined;
  } = {},
): Promise<Speed> {
  const bytes = stackBytes(stack, format);
  if (gpu.memory.bytesInUse + bytes > gpu.memory.budget) {
    throw new OutOfMemoryError(`${stack.description}: about ${bytes} bytes; the budget is ${gpu.memory.budget}.`);
  }
  const graph = graphOfStack(stack);
  const tokens = gpu.description.software ? SPEED_ON_CPU : SPEED;
  const maker = new WeightMaker(gpu, options.signal);
  const lend = <T>(weights: ReadonlyMap<string, Weight>, work: Parameters<typeof withDecoder<T>>[4]) =>
    withDecoder(gpu, graph, weights, { positions: POSITIONS, tuner: options.tuner }, work);
  const linear = graph.weights.filter(({ role }) => role === 'linear');
  try {
    const rest = await maker.make(
      graph.weights.filter(({ role }) => role !== 'linear'),
      formatOfRest,
    );
    const inFormat = async (one: Format) =>
      new Map([...rest, ...(await maker.make(linear, (_, { rows, k }) => resizedFormat(one, rows, k)))]);
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
