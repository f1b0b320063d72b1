import { FormatError, OutOfMemoryError } from '../../errors.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import type { ByteSource } from '../../files/source.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { VariantChoice } from '../../graph/variant-choice.ts';
import { ProductTimer } from '../../tuner/product-times.ts';
import type { RecipeOptions } from '../compress-options.ts';
import type { CompressionPlan } from '../plan.ts';
import { type Prepared, prepare } from '../prepare.ts';
import type { ShrunkLayer } from '../shrinking/shrink-model.ts';
import type { Shrinking } from '../shrinking/shrinking.ts';
import { predictTime, productsOf, type TimePrediction } from './predict-time.ts';
import { type MaskPreview, previewMasks } from './preview-masks.ts';

/** What pruning a model would come to. */
export interface PruningPreview {
  readonly plan: CompressionPlan;
  /** Where weights go, and not structures. */
  readonly masks?: MaskPreview;
  /** Where channels or heads go: which would, by magnitude, or at random where that is asked for. */
  readonly shrink?: readonly ShrunkLayer[];
  /** Undefined where the recipe removes nothing, for bare tensors, and where a matrix does not fit the GPU, or no kernel multiplies with it. */
  readonly time?: TimePrediction;
}

/**
 * Predicts size and time of a pruned model on this device, and shows which weights, channels and heads would go by magnitude. Writes nothing.
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
    const notices = [...summary.notices];
    const notice = (text: string) => notices.push(text);
    // Masks are of what the other leaves.
    const shrink = await previewShrinking(prepared, gpu, notice, signal);
    const scores = new Set(prepared.plan.apart.flatMap(({ prune }) => prune?.score ?? []));
    scores.delete('magnitude');
    if (scores.size > 0) notice(`Masks are drawn by magnitude: ${[...scores].join(', ')} shows when it runs.`);
    const masks = prunes ? await previewMasks(prepared, gpu, signal) : undefined;
    const time = await timeOf(prepared, gpu, tuner, notice, signal);
    const more = { ...(masks && { masks }), ...(shrink && { shrink }), ...(time && { time }) };
    return { plan: { ...summary, notices }, ...more };
  } finally {
    await prepared.checkpoint.close();
  }
}

/** Which channels and heads would go by magnitude, whatever their score: the others need the whole calibration, as choosing layers does. */
async function previewShrinking(
  { shrunk }: Prepared,
  gpu: Gpu,
  notice: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<ShrunkLayer[] | undefined> {
  if (!shrunk) return undefined;
  const { score, spreads } = shrunk.shrinking;
  const known = score === 'magnitude' || score === 'random';
  if (shrunk.whole) notice('Which layers go shows when it runs: the plan is of the largest that could stay.');
  if (shrunk.left.size === 0) return undefined;
  if (!known || spreads) {
    const what = spreads ? 'How many channels each layer loses, and which,' : `What goes by ${score}`;
    notice(`${what} shows when it runs: drawn is what would go by magnitude, of all layers alike.`);
  }
  const { shrinkModel } = await import('../shrinking/shrink.ts');
  const plain = { score: known ? score : 'magnitude', repair: 'none', rounds: 1 } as const;
  const shrinking: Shrinking = { ...shrunk.shrinking, ...plain };
  return shrinkModel({ ...shrunk, shrinking }, { gpu, calibration: undefined, notice, signal });
}

async function timeOf(
  prepared: Prepared,
  gpu: Gpu,
  tuner: VariantChoice | undefined,
  notice: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<TimePrediction | undefined> {
  if (!prepared.unpruned || !prepared.graph) return undefined;
  let timer: ProductTimer | undefined;
  try {
    const own = new ProductTimer(gpu, tuner, signal);
    timer = own;
    const [before, after] = [productsOf(await prepared.unpruned()), productsOf(prepared)];
    if (before && after) return await predictTime(before, after, (was, is) => own.time(was, is));
    notice('No time is predicted: some matrices are of types that no kernel multiplies with.');
    return undefined;
  } catch (error) {
    // A matrix is too large, or only what is left of it has rows that the format can have.
    if (!(error instanceof OutOfMemoryError || error instanceof FormatError)) throw error;
    notice(`No time is predicted, which is measured beside the model with nothing removed: ${error.message}`);
    return undefined;
  } finally {
    timer?.release();
  }
}
