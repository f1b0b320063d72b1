import type { Format } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Step } from '../gpu/kernel.ts';
import { blockLinearSteps } from './block-linear.ts';
import { blockVariantsFor, usualBlockVariant } from './block-linear-variants.ts';
import { asBlocks } from './block-weight.ts';
import type { LinearVariant } from './linear-variants.ts';
import { type SparseLinearArguments, sparseLinearSteps } from './sparse-linear.ts';
import { sparseVariantsFor, usualSparseVariant } from './sparse-linear-variants.ts';

/** A product with a weight of which an N:M pattern, or some blocks, are stored. @throws as `sparseLinearSteps` and `blockLinearSteps` do */
export const productSteps = (args: SparseLinearArguments): Step[] =>
  args.weight.format.blocks ? blockLinearSteps({ ...args, weight: asBlocks(args.weight) }) : sparseLinearSteps(args);

/** Sizes of a product. */
export interface ProductShape {
  readonly rows: number;
  readonly k: number;
  readonly tokens: number;
}

/** What serves where nothing was timed. */
export function usualVariantOf(gpu: Gpu, shape: ProductShape, { packed, blocks }: Format): string {
  if (blocks) return usualBlockVariant(gpu, shape.tokens, blocks.layout);
  return usualSparseVariant(gpu, shape, packed!.layout(shape.rows, shape.k));
}

/** All that multiply so on this device, with what they run. */
export function variantsOf(
  gpu: Gpu,
  shape: ProductShape,
  format: Format,
): {
  readonly name: string;
  readonly kernel: ReturnType<LinearVariant['kernel']>;
  readonly grid: [number, number, number];
}[] {
  const { packed, blocks } = format;
  if (blocks) {
    const { layout } = blocks;
    const of = { blockRows: layout.down, tokens: shape.tokens };
    return blockVariantsFor(gpu, layout).map((variant) => ({
      ...{
        name: variant.name,
        kernel: { ...variant.kernel(of), format: format.shader },
        grid: variant.grid(of, layout),
      },
    }));
  }
  const layout = packed!.layout(shape.rows, shape.k);
  return sparseVariantsFor(gpu, layout).map((variant) => ({
    ...{
      name: variant.name,
      kernel: { ...variant.kernel(shape), format: format.shader },
      grid: variant.grid(shape, layout),
    },
  }));
}
