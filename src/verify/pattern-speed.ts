import { checkCancelled } from '../files/cancel.ts';
import { type Format, isSparse, valuesOf } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Step } from '../gpu/kernel.ts';
import { Scratch } from '../gpu/scratch.ts';
import { linearSteps } from '../kernels/linear.ts';
import { usualVariant } from '../kernels/linear-variants.ts';
import { loadPackedProducts, packedProducts } from '../kernels/packed-products.ts';
import type { Weight } from '../kernels/weight.ts';
import { matrixShape } from '../passes/stored-weight.ts';
import { interleavedTimes } from '../scheduler/interleaved-times.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import type { Report } from './report-schema.ts';
import type { WeightPair } from './sizes.ts';
import { bootstrapInterval, median } from './statistics.ts';
import { WeightMaker } from './synthetic-weights.ts';

type Pattern = NonNullable<NonNullable<Report['speed']>['patterns']>[number];

/** Tokens of a prompt, fewer where the device computes on a CPU. */
const TOKENS = { device: 64, cpu: 16 } as const;
const ROUNDS = 9;
/** Multiply-adds of a run, so that it takes longer than a submit does, and products at most. */
const WORK = 2 ** 27;
const MOST_PRODUCTS = 64;

/** Sizes of matrices that are timed at most, those with the most weights: a share of blocks may differ in every matrix. */
const MOST_SIZES = 16;

/**
 * What packed weights buy on this device: for each packed format and size of matrices that a model has, the product with such a matrix, beside the product with a dense
 * weight in the format of the packed values.
 * @throws CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function measurePatterns(
  gpu: Gpu,
  pairs: readonly Pick<WeightPair, 'name' | 'compressed'>[],
  signal?: AbortSignal,
): Promise<Pattern[]> {
  const sizes = new Map<string, Size>();
  for (const { name, compressed } of pairs) {
    if (compressed.kind !== 'quantized' || !isSparse(compressed.format)) continue;
    const shape = matrixShape(compressed.shape);
    const key = `${compressed.format.name} ${shape.rows} ${shape.k}`;
    const size = sizes.get(key) ?? { format: compressed.format, ...shape, tensors: [] };
    size.tensors.push(name);
    sizes.set(key, size);
  }
  const weightsIn = ({ rows, k, tensors }: Size) => rows * k * tensors.length;
  const timed = [...sizes.values()].sort((a, b) => weightsIn(b) - weightsIn(a)).slice(0, MOST_SIZES);
  await loadPackedProducts(timed.map(({ format }) => format));
  const found: Pattern[] = [];
  for (const { format, tensors, ...shape } of timed) {
    for (const tokens of [1, gpu.description.software ? TOKENS.cpu : TOKENS.device]) {
      checkCancelled(signal, 'The speed measurement');
      found.push({ ...(await comparePattern(gpu, format, shape, tokens, signal)), tensors });
    }
  }
  return found;
}

/** Matrices of one size in one format. */
interface Size {
  readonly format: Format;
  readonly rows: number;
  readonly k: number;
  readonly tensors: string[];
}

async function comparePattern(
  gpu: Gpu,
  format: Format,
  { rows, k }: { readonly rows: number; readonly k: number },
  tokens: number,
  signal: AbortSignal | undefined,
): Promise<Omit<Pattern, 'tensors'>> {
  const values = valuesOf(format);
  const maker = new WeightMaker(gpu, signal);
  const scratch = new Scratch(gpu);
  const chains: Recording[] = [];
  try {
    const graph = [{ name: 'w', shape: [rows, k], role: 'linear' }] as const;
    const weightOf = async (one: Format) => (await maker.make(graph, () => one)).get('w')!;
    const x = scratch.upload(new Float32Array(tokens * k).fill(0.5), 'x');
    const y = scratch.room(4 * tokens * rows, 'y');
    const { productSteps, usualVariantOf } = packedProducts();
    const shape = { rows, k, tokens };
    const products = {
      packed: (weight: Weight) => productSteps({ x, weight, y, tokens, variant: usualVariantOf(gpu, shape, format) }),
      dense: (weight: Weight) => linearSteps({ x, weight, y, tokens, variant: usualVariant(gpu, shape, values) }),
    };
    const count = Math.min(MOST_PRODUCTS, Math.ceil(WORK / (rows * k * tokens)));
    const chain = (steps: readonly Step[]) =>
      gpu.scheduler.record(Array.from({ length: count }, () => steps).flat(), 'a pattern');
    chains.push(await chain(products.packed(await weightOf(format))));
    chains.push(await chain(products.dense(await weightOf(values))));
    const [packed, dense] = await interleavedTimes(gpu, chains, ROUNDS, 'The speed measurement', signal);
    const ratios = packed!.map((time, i) => dense![i]! / time);
    const [low, high] = bootstrapInterval(ratios);
    return {
      ...{ format: format.name, dense: values.name, rows, columns: k, tokens },
      ...{ ratio: median(ratios), interval: [low, high], pays: low > 1 },
    };
  } finally {
    for (const one of chains) one.release();
    scratch.release();
    maker.release();
    gpu.memory.trim();
  }
}
