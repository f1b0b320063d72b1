import { CancelledError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { ByteSource } from '../files/source.ts';
import type { CompressOptions, RecipeOptions } from './compress-options.ts';
import type { CompressionPlan, SizeSummary } from './plan.ts';
import { prepare } from './prepare.ts';
import type { Recipe } from './recipe.ts';
import { copySideFiles } from './side-files.ts';
import { ggufOutput, safetensorsOutput } from './tensor-output.ts';
import { spansFrom } from './timeline.ts';
import { writeTensors } from './write-tensors.ts';

export interface CompressReport extends SizeSummary {
  readonly version: 1;
  readonly recipe: Recipe;
  readonly seconds: number;
}

const WEIGHTS_FILE = 'model.safetensors';
const WHAT = 'The compression';

/**
 * What `compress` would do with a model folder, a GGUF or a safetensors file: formats, sizes and an estimate of memory. Reads headers only.
 * @throws as `compress`, except for what only the weights' values show.
 */
export async function planCompression(
  source: ModelFiles | ByteSource,
  options: RecipeOptions = {},
): Promise<CompressionPlan> {
  const { checkpoint, plan } = await prepare(source, options);
  await checkpoint.close();
  return plan.summary;
}

/**
 * Compresses a model (a folder of Hugging Face or a GGUF file) into a folder, a GGUF or a safetensors file, or bare tensors
 * (a safetensors file) into a safetensors file: streams tensor by tensor, quantizes on the GPU and copies what the recipe keeps
 * value for value. Where it fails, nothing is written: `output` is committed at the very end, else aborted. A `ByteSource` is closed.
 * @throws ArgumentError where source and output do not fit; ModelError, FileError, FormatError, RecipeError; NonFiniteError
 * naming the tensor; CancelledError; OutOfMemoryError, DeviceLostError.
 */
export async function compress(
  source: ModelFiles | ByteSource,
  output: OutputFolder | ByteSink,
  options: CompressOptions,
): Promise<CompressReport> {
  const { gpu, signal, onProgress, onTimeline, chunkBytes } = options;
  const started = performance.now();
  try {
    const folder = 'file' in output ? output : undefined;
    const { checkpoint, plan, recipe, strict, gguf } = await prepare(source, options, output);
    try {
      options.onPlan?.(plan.summary);
      const sink = folder ? await folder.file(WEIGHTS_FILE) : (output as ByteSink);
      const writer = gguf
        ? await ggufOutput(sink, gguf.entries, gguf.target, plan)
        : await safetensorsOutput(sink, checkpoint, plan);
      await writeTensors({
        checkpoint,
        plan,
        writer,
        gpu,
        strict,
        ...(chunkBytes !== undefined && { chunkBytes }),
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
        ...(onTimeline && { record: spansFrom(started, onTimeline) }),
      });
      if (folder) await copySideFiles(checkpoint, folder);
      checkCancelled(signal, WHAT);
      // A single file is there once its sink is committed, a folder once all of it is.
      await writer.finish();
      await folder?.commit();
    } finally {
      await checkpoint.close();
    }
    const { memory: _, ...summary } = plan.summary;
    return { version: 1, recipe, ...summary, seconds: (performance.now() - started) / 1000 };
  } catch (error) {
    await output.abort();
    throw signal?.aborted || error instanceof CancelledError ? new CancelledError(WHAT, 'nothing was written') : error;
  }
}
