import { type Format, isSparse, valuesOf } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import { matrixShape } from '../passes/stored-weight.ts';
import { type Product, ProductTimer, productKey } from '../tuner/product-times.ts';
import type { Report } from './report-schema.ts';
import type { WeightPair } from './sizes.ts';

type Pattern = NonNullable<NonNullable<Report['speed']>['patterns']>[number];

/** Tokens of a prompt, fewer where the device computes on a CPU. */
const TOKENS = { device: 64, cpu: 16 } as const;

/** Sizes of matrices that are timed at most, those with the most weights: a share of blocks may differ in every matrix. */
const MOST_SIZES = 16;

/**
 * What packed weights buy on this device: for each packed format and size of matrices that a model has, the product with such a matrix, beside the product with a dense
 * weight in the format of the packed values, each in the variant that a tuner chooses, or that serves without one.
 * @throws CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function measurePatterns(
  gpu: Gpu,
  pairs: readonly Pick<WeightPair, 'name' | 'compressed'>[],
  { tuner, signal }: { readonly tuner?: VariantChoice | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Pattern[]> {
  const sizes = new Map<string, Size>();
  for (const { name, compressed } of pairs) {
    if (compressed.kind !== 'quantized' || !isSparse(compressed.format)) continue;
    const { rows, k: columns } = matrixShape(compressed.shape);
    const product = { rows, columns, format: compressed.format };
    const size = sizes.get(productKey(product)) ?? { product, tensors: [] };
    size.tensors.push(name);
    sizes.set(productKey(product), size);
  }
  const weightsIn = ({ product: { rows, columns }, tensors }: Size) => rows * columns * tensors.length;
  const timed = [...sizes.values()].sort((a, b) => weightsIn(b) - weightsIn(a)).slice(0, MOST_SIZES);
  const found: Pattern[] = [];
  for (const { product, tensors } of timed) {
    // Weights of one size on the GPU at a time.
    const timer = new ProductTimer(gpu, tuner, signal);
    try {
      for (const tokens of [1, gpu.description.software ? TOKENS.cpu : TOKENS.device]) {
        found.push({ ...(await comparePattern(timer, product, tokens)), tensors });
      }
    } finally {
      timer.release();
    }
  }
  return found;
}

/** Matrices of one size in one format. */
interface Size {
  readonly product: Product;
  readonly tensors: string[];
}

async function comparePattern(timer: ProductTimer, packed: Product, tokens: number): Promise<Omit<Pattern, 'tensors'>> {
  const values: Format = valuesOf(packed.format);
  const { ratio, interval } = await timer.time({ ...packed, format: values }, packed, tokens);
  return {
    ...{ format: packed.format.name, dense: values.name, rows: packed.rows, columns: packed.columns, tokens },
    ...{ ratio, interval: [...interval], pays: interval[0] > 1 },
  };
}
