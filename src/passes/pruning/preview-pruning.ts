import { FormatError, OutOfMemoryError } from '../../errors.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import type { ByteSource } from '../../files/source.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { VariantChoice } from '../../graph/variant-choice.ts';
import { ProductTimer } from '../../tuner/product-times.ts';
import type { RecipeOptions } from '../compress-options.ts';
import type { CompressionPlan } from '../plan.ts';
import { type Prepared, prepare } from '../prepare.ts';
import { predictTime, productsOf, type TimePrediction } from './predict-time.ts';
import { type MaskPreview, previewMasks } from './preview-masks.ts';

/** What pruning a model would come to. */
export interface PruningPreview {
  readonly plan: CompressionPlan;
  /** Where weights go, and not structures. */
  readonly masks?: MaskPreview;
  /** Undefined where the recipe removes nothing, for bare tensors, and where a matrix does not fit the GPU, or no kernel multiplies with it. */
  readonly time?: TimePrediction;
}

/**
 * Predicts size and time of a pruned model on this device, and draws its masks. Writes nothing.
 * @throws as `compress` does
 */
export async function previewPruning(
  source: ModelFiles | ByteSource,
  options: RecipeOptions & { readonly gpu: Gpu; readonly tuner?: VariantChoice },
): Promise<PruningPreview> {
  const { gpu, tuner, signal } = options;
  const prepared = await prepare(source, options);
  try {
    const { summary, plan } = prepared;
    const prunes = plan.apart.some(({ prune }) => prune);
    const masks = prunes ? await previewMasks(prepared, gpu, signal) : undefined;
    const time = await timeOf(prepared, gpu, tuner, signal);
    return { plan: summary, ...(masks && { masks }), ...(time && { time }) };
  } finally {
    await prepared.checkpoint.close();
  }
}

async function timeOf(
  prepared: Prepared,
  gpu: Gpu,
  tuner: VariantChoice | undefined,
  signal: AbortSignal | undefined,
): Promise<TimePrediction | undefined> {
  if (!prepared.unpruned || !prepared.graph) return undefined;
  const timer = new ProductTimer(gpu, tuner, signal);
  try {
    const [before, after] = [productsOf(await prepared.unpruned()), productsOf(prepared)];
    return before && after && (await predictTime(before, after, (was, is) => timer.time(was, is)));
  } catch (error) {
    // A matrix is too large, or only what is left of it has rows that the format can have.
    if (error instanceof OutOfMemoryError || error instanceof FormatError) return undefined;
    throw error;
  } finally {
    timer.release();
  }
}
