import { makeParent } from '../files/node-folders.ts';
import { nodeOutput } from '../files/node-output.ts';
import { nodeFileSink } from '../files/node-sink.ts';
import type { ByteSink, OutputFolder, OutputOptions } from '../files/sink.ts';
import { compress, planCompression } from '../passes/compress.ts';
import type { OutputKind, RecipeOptions } from '../passes/compress-options.ts';
import type { PruningPreview } from '../passes/pruning/preview-pruning.ts';
import { type GpuOptions, withGpu } from './gpu-options.ts';
import { openInput } from './node-inputs.ts';
import { print, printJson } from './output.ts';
import { startStages } from './progress.ts';
import {
  done,
  errorSummary,
  maskPictures,
  memory,
  pruneSummary,
  shrinkSummary,
  summary,
  tensorTable,
  timeTable,
  unitPictures,
} from './size-tables.ts';
import { type TuneOptions, tunerOf } from './tune-option.ts';

/** What commands that write a model have in common. */
export interface WriteModelOptions extends GpuOptions, TuneOptions {
  readonly out: string;
  readonly overwrite?: boolean;
  readonly resume?: boolean;
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

/** Plans a compression, then carries it out unless it is only to be planned, and prints what it came to. */
export async function writeModel(
  model: string,
  kind: OutputKind,
  options: WriteModelOptions,
  recipe: RecipeOptions,
  progressWord: string,
  signal: AbortSignal,
): Promise<void> {
  const how: RecipeOptions = { ...recipe, signal, output: kind };
  // Before the GPU is opened: most mistakes show here.
  const plan = await planCompression(await openInput(model), how);
  if (options.dryRun) {
    const removes = recipe.recipe?.shrink !== undefined || plan.tensors.some(({ prune }) => prune);
    await printPreview(removes ? await preview(model, options, how, signal) : { plan }, options.json ?? false);
    return;
  }
  for (const notice of plan.notices) console.error(`note: ${notice}`);
  const resume = options.resume ?? false;
  const outputOptions = { overwrite: options.overwrite ?? false, resume };
  const report = await withOutput(options.out, kind, outputOptions, (output) =>
    withGpu(options, async (gpu) => {
      const source = await openInput(model);
      const tuner = tunerOf(gpu, options, signal);
      const progress = startStages(progressWord);
      try {
        return await compress(source, output, {
          ...how,
          gpu,
          ...(tuner && { tuner }),
          resume,
          onProgress: (at) => progress.update(at),
        });
      } finally {
        progress.stop();
      }
    }),
  );
  // What only the values showed.
  const known = new Set(plan.notices);
  for (const notice of report.notices) if (!known.has(notice)) console.error(`note: ${notice}`);
  if (options.json) await printJson({ ...report, output: options.out });
  else {
    const { tensors } = report;
    const parts = [tensorTable(tensors), shrinkSummary(report), pruneSummary(tensors), errorSummary(tensors)];
    await print([...parts, done(report, options.out)].filter((part) => part !== undefined).join('\n\n'));
  }
}

/** What a pruning would come to: of a budget of time, only the device knows. */
const preview = (
  model: string,
  options: WriteModelOptions,
  how: RecipeOptions,
  signal: AbortSignal,
): Promise<PruningPreview> =>
  withGpu(options, async (gpu) => {
    const { previewPruning } = await import('../passes/pruning/preview-pruning.ts');
    const tuner = tunerOf(gpu, options, signal);
    return previewPruning(await openInput(model), { ...how, gpu, ...(tuner && { tuner }) });
  });

async function printPreview({ plan, masks, shrink, time }: PruningPreview, json: boolean): Promise<void> {
  for (const notice of plan.notices) console.error(`note: ${notice}`);
  if (json)
    return printJson({ version: 1, dryRun: true, ...plan, ...masks, ...(shrink && { shrink }), ...(time && { time }) });
  const sizes = [tensorTable(plan.tensors), summary(plan), memory(plan)];
  const parts = [...sizes, time && timeTable(time), shrink && unitPictures(shrink), masks && maskPictures(masks)];
  return print(parts.filter((part) => part !== undefined).join('\n\n'));
}

/**
 * Lends the output at `path` to `work`: where that fails, neither the output nor a folder made for it is left, but for what the next
 * run goes on with.
 * @throws FileError
 */
export async function withOutput<T>(
  path: string,
  kind: OutputKind,
  options: OutputOptions,
  work: (output: OutputFolder | ByteSink) => Promise<T>,
): Promise<T> {
  const removeParents = await makeParent(path);
  let output: OutputFolder | ByteSink | undefined;
  try {
    output = kind === 'folder' ? await nodeOutput(path, options) : await nodeFileSink(path, options);
    return await work(output);
  } catch (error) {
    await output?.abort();
    await removeParents();
    throw error;
  }
}
