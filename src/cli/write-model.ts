import { makeParent } from '../files/node-folders.ts';
import { nodeOutput } from '../files/node-output.ts';
import { nodeFileSink } from '../files/node-sink.ts';
import type { ByteSink, OutputFolder, OutputOptions } from '../files/sink.ts';
import { compress, planCompression } from '../passes/compress.ts';
import type { OutputKind, RecipeOptions } from '../passes/compress-options.ts';
import type { MaskPreview } from '../passes/pruning/preview-masks.ts';
import { type GpuOptions, withGpu } from './gpu-options.ts';
import { openInput } from './node-inputs.ts';
import { print, printJson } from './output.ts';
import { startProgress } from './progress.ts';
import {
  done,
  errorSummary,
  maskPictures,
  memory,
  pruneSummary,
  shrinkSummary,
  summary,
  tensorTable,
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
  for (const notice of plan.notices) console.error(`note: ${notice}`);
  if (options.dryRun) {
    const masks = plan.tensors.some(({ prune }) => prune) ? await preview(model, options, how) : undefined;
    if (options.json) await printJson({ version: 1, dryRun: true, ...plan, ...masks });
    else {
      const parts = [tensorTable(plan.tensors), summary(plan), memory(plan), masks && maskPictures(masks)];
      await print(parts.filter((part) => part !== undefined).join('\n\n'));
    }
    return;
  }
  const resume = options.resume ?? false;
  const outputOptions = { overwrite: options.overwrite ?? false, resume };
  const report = await withOutput(options.out, kind, outputOptions, (output) =>
    withGpu(options, async (gpu) => {
      const source = await openInput(model);
      const tuner = tunerOf(gpu, options, signal);
      const progress = startProgress(progressWord);
      try {
        return await compress(source, output, {
          ...how,
          gpu,
          ...(tuner && { tuner }),
          resume,
          onProgress: ({ done, total, tensor }) => progress.update(done, total, tensor),
        });
      } finally {
        progress.stop();
      }
    }),
  );
  // What only the values showed.
  for (const notice of report.notices.slice(plan.notices.length)) console.error(`note: ${notice}`);
  if (options.json) await printJson({ ...report, output: options.out });
  else {
    const { tensors } = report;
    const parts = [tensorTable(tensors), shrinkSummary(report), pruneSummary(tensors), errorSummary(tensors)];
    await print([...parts, done(report, options.out)].filter((part) => part !== undefined).join('\n\n'));
  }
}

/** What the masks of a pruning would be like, and how long choosing them takes. */
const preview = (model: string, options: WriteModelOptions, how: RecipeOptions): Promise<MaskPreview> =>
  withGpu(options, async (gpu) => {
    const { previewMasks } = await import('../passes/pruning/preview-masks.ts');
    return previewMasks(await openInput(model), { ...how, gpu });
  });

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
