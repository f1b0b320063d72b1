import { ArgumentError, CancelledError, NonFiniteError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { ByteSource } from '../files/source.ts';
import type { Calibration } from './calibration/calibration.ts';
import type { StatisticsSource } from './calibration/statistics.ts';
import type { MatrixLosses } from './compress-matrix.ts';
import type { CompressOptions, RecipeOptions } from './compress-options.ts';
import { scaledStatistics } from './folding/scaled-statistics.ts';
import { jobOf } from './job.ts';
import type { CompressionPlan, PlannedTensor, SizeSummary } from './plan.ts';
import { type MeasuringDevice, type Prepared, prepare } from './prepare.ts';
import type { Recipe } from './recipe.ts';
import { resumedOutput } from './resume.ts';
import { type SaturatedCounts, saturationNotices } from './saturation.ts';
import { INDEX_FILE, shardIndex } from './shards.ts';
import type { ShrunkLayer } from './shrinking/shrink-model.ts';
import { copySideFiles, writeFile } from './side-files.ts';
import type { TensorOutput } from './tensor-output.ts';
import { spansFrom } from './timeline.ts';
import { filesOutput, weightFilesOf } from './weight-files.ts';
import { writeTensors } from './write-tensors.ts';

/** What a compression came to: sizes in bytes, bits per weight, time in seconds. */
export interface CompressReport extends SizeSummary {
  readonly version: 1;
  readonly recipe: Recipe;
  readonly seconds: number;
  /** Where it got smaller first: what each layer lost. */
  readonly shrink?: readonly ShrunkLayer[];
}

const WHAT = 'The compression';

/**
 * What `compress` would do with a model folder, a GGUF or a safetensors file: formats, sizes and an estimate of memory. Reads headers only.
 * @param options with a GPU where a budget of time is to be measured
 * @throws as `compress`, except for what only the weights' values show.
 */
export async function planCompression(
  source: ModelFiles | ByteSource,
  options: RecipeOptions & MeasuringDevice = {},
): Promise<CompressionPlan> {
  const { checkpoint, summary } = await prepare(source, options);
  await checkpoint.close();
  return summary;
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
  const record = onTimeline && spansFrom(started, onTimeline);
  const saturated: SaturatedCounts = new Map();
  const extra: string[] = [];
  let losses: ReadonlyMap<string, MatrixLosses> = new Map();
  let shrink: readonly ShrunkLayer[] | undefined;
  try {
    const folder = 'file' in output ? output : undefined;
    let prepared = await prepare(source, options, output);
    try {
      // Ranks that singular values decide are part of it.
      if (!prepared.withRanks) options.onPlan?.(prepared.summary);
      const notice = (text: string) => extra.push(text);
      checkResumable(prepared, options);
      if (prepared.shrunk) {
        const shrinking = await shrinkFirst(prepared, options, notice);
        prepared = shrinking.prepared;
        shrink = shrinking.report;
      }
      if (prepared.withRanks) {
        prepared = await rankFirst(prepared, options);
        options.onPlan?.(prepared.summary);
      }
      const { checkpoint, plan, strict, shards } = prepared;
      const { writer, written } = await openWriter(prepared, output, saturated, options);
      // Before anything is written: norms change with the scales of what they feed.
      const inputs = await scaledInputs(prepared, options, notice);
      await writeTensors({
        checkpoint,
        plan,
        writer,
        written,
        saturated,
        gpu,
        strict,
        ...(chunkBytes !== undefined && { chunkBytes }),
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
        ...(record && { record }),
      });
      if (prepared.plan.apart.length > 0) {
        const { writeApart } = await import('./write-apart.ts');
        losses = await writeApart(prepared, writer, inputs, options, notice, record);
      }
      if (folder) {
        if (shards.length > 1) await writeFile(folder, INDEX_FILE, shardIndex(shards));
        await copySideFiles(checkpoint, folder, prepared.contained?.config);
      }
      checkCancelled(signal, WHAT);
      // A single file is there once its sink is committed, a folder once all of it is.
      await writer.finish();
      await folder?.commit();
    } finally {
      await prepared.checkpoint.close();
    }
    const { plan, recipe } = prepared;
    const { memory: _, ...summary } = prepared.summary;
    const notices = [...summary.notices, ...saturationNotices(plan.tensors, saturated), ...extra];
    const tensors = summary.tensors.map((tensor) => {
      const { quantized, pruned, factored } = losses.get(tensor.name) ?? {};
      const prune = pruned && { ...tensor.prune!, ...pruned };
      const factors = factored && { ...tensor.factors!, ...factored };
      return {
        ...{ ...tensor, ...(quantized && { error: quantized }) },
        ...{ ...(prune && { prune }), ...(factors && { factors }) },
      };
    });
    const seconds = (performance.now() - started) / 1000;
    return { version: 1, recipe, ...summary, tensors, notices, seconds, ...(shrink && { shrink }) };
  } catch (error) {
    // The next run would find the same weight: what is there is of no use.
    if (options.resume && error instanceof NonFiniteError) await output.resumable?.journal.keep(0);
    await output.abort();
    const left = options.resume ? 'what is finished is kept for a run with "resume"' : 'nothing was written';
    throw signal?.aborted || error instanceof CancelledError ? new CancelledError(WHAT, left) : error;
  }
}

/** Removes what a model has to lose before anything else is done with it: layers, then what those that stay lose, once it is known how much of each goes. */
async function shrinkFirst(
  before: Prepared,
  { gpu, calibration, signal, onProgress }: CompressOptions,
  notice: (text: string) => void,
): Promise<{ readonly prepared: Prepared; readonly report: ShrunkLayer[] }> {
  const { shrinkModel, chooseLayers, spreadChannels } = await import('./shrinking/shrink.ts');
  const { whole, shrinking } = before.shrunk!;
  const all = before.summary.bytesBefore;
  const workOf = (name: string) => ({
    ...{ gpu, calibration, notice, signal },
    onStep: (done: number, total: number) =>
      onProgress?.({ done: 0, total: all, tensor: '', stage: { name, done, total } }),
  });
  let prepared = before;
  const report: ShrunkLayer[] = [];
  if (whole) {
    const chosen = await chooseLayers(whole, shrinking, workOf('choosing layers'));
    report.push(chosen.report);
    prepared = await prepared.withShrunk!({ layers: chosen.kept });
  }
  if (shrinking.spreads) {
    prepared = await prepared.withShrunk!({
      widths: await spreadChannels(prepared.shrunk!, workOf('comparing layers')),
    });
  }
  return { prepared, report: [...report, ...(await shrinkModel(prepared.shrunk!, workOf('shrinking')))] };
}

/** Finds the ranks of matrices where their singular values decide them. */
async function rankFirst(
  prepared: Prepared,
  { gpu, calibration, statistics, signal, onProgress }: CompressOptions,
): Promise<Prepared> {
  const { checkpoint, graph, plan } = prepared;
  const { findRanks } = await import('./factorize/find-ranks.ts');
  const tensors = plan.apart.filter(({ factors }) => factors && factors.rank === undefined);
  const total = plan.summary.bytesBefore;
  const ranks = await findRanks({
    ...{ gpu, checkpoint, graph, tensors, inputs: calibration ?? statistics, signal },
    onProgress: (_done, _all, tensor) => onProgress?.({ done: 0, total, tensor }),
  });
  return prepared.withRanks!(ranks);
}

/** Moves factors of inputs where a method wants it; returns what shows the inputs as they are then. */
async function scaledInputs(
  { plan, graph, folding }: Prepared,
  { gpu, calibration, statistics, signal }: CompressOptions,
  notice: (text: string) => void,
): Promise<Calibration | StatisticsSource | undefined> {
  const inputs = calibration ?? statistics;
  if (!graph || !folding || !inputs) return inputs;
  const how = { gpu, graph, inputs, notice, tensors: plan.apart, ...folding };
  const { chooseScales } = await import('./folding/choose-scales.ts');
  const factors = await chooseScales({ ...how, ...(signal && { signal }) });
  return 'load' in inputs ? scaledStatistics(inputs, factors) : inputs;
}

/** @throws ArgumentError where a run can't be resumed as it is asked for */
function checkResumable({ plan, shrunk }: Prepared, { resume }: CompressOptions): void {
  if (!resume || (plan.apart.length === 0 && !shrunk)) return;
  throw new ArgumentError(
    'A compression that is calibrated, prunes, factors or shrinks cannot be resumed: each matrix may depend on those before it.',
  );
}

/** Where the tensors go, and which of them are there already. @throws ArgumentError where `output` can't be resumed as asked */
async function openWriter(
  prepared: Prepared,
  output: OutputFolder | ByteSink,
  saturated: SaturatedCounts,
  { resume, signal }: CompressOptions,
): Promise<{ readonly writer: TensorOutput; readonly written: readonly PlannedTensor[] }> {
  const files = weightFilesOf(prepared);
  const { resumable } = output;
  if (resume && resumable) {
    const job = await jobOf(prepared, files, signal);
    const writer = await resumedOutput(output.name, resumable, job, files, saturated, signal);
    return { writer, written: writer.done };
  }
  if (resume || resumable) {
    throw new ArgumentError(
      resume
        ? `${output.name}: only an output on a disk, opened with "resume", can be resumed.`
        : `${output.name}: it was opened with "resume"; give compress the same option.`,
    );
  }
  const open = async (file: string) => ('file' in output ? output.file(file) : output);
  return { writer: filesOutput(files, open), written: [] };
}
