import { ArgumentError, CancelledError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import type { ModelFiles } from '../files/model-files.ts';
import { type SafetensorsWriter, writeSafetensors } from '../files/safetensors-write.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { ByteSource } from '../files/source.ts';
import { serializeWeightTree, WEIGHT_TREE_KEY } from '../files/weight-tree.ts';
import { nonFinite } from '../formats/checks.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { quantizeStep } from '../kernels/quantize.ts';
import { rowsPerPart } from '../kernels/weight.ts';
import {
  type CompressionPlan,
  graphOfCheckpoint,
  type Plan,
  type PlannedTensor,
  planTensors,
  type SizeSummary,
} from './plan.ts';
import { compileRecipe, presetRecipe, type Recipe } from './recipe.ts';
import { checkWeight, chunkRows, denseFormatOf } from './stored-weight.ts';

export interface CompressProgress {
  /** Bytes of the input done and in all. */
  readonly done: number;
  readonly total: number;
  /** The tensor at work. */
  readonly tensor: string;
}

export interface RecipeOptions {
  /** Which format each matrix gets. */
  readonly recipe?: Recipe;
  /** In place of a recipe: this format for all linear matrices. Default: `q4_0`. */
  readonly format?: string;
  /** Bytes of a tensor to read at a time: what bounds the memory of a run. Default: 64 MiB. The result is the same. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
}

export interface CompressOptions extends RecipeOptions {
  readonly gpu: Gpu;
  readonly onProgress?: (progress: CompressProgress) => void;
  /** Called once, before anything is written. */
  readonly onPlan?: (plan: CompressionPlan) => void;
}

export interface CompressReport extends SizeSummary {
  readonly version: 1;
  readonly recipe: Recipe;
  readonly seconds: number;
}

/** The format where neither a recipe nor a format is named. */
export const DEFAULT_FORMAT = 'q4_0';

/** Files beside the weights that a compressed model keeps. */
const SIDE_FILES = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'generation_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'tokenizer.model',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
];

const WEIGHTS_FILE = 'model.safetensors';
const WHAT = 'The compression';

/** A recipe as it will run. @throws RecipeError, FormatError, ArgumentError */
export function recipeOf({ recipe, format }: RecipeOptions): Recipe {
  if (recipe && format !== undefined) throw new ArgumentError('Give either a recipe or a format, not both.');
  if (!recipe) return presetRecipe(format ?? DEFAULT_FORMAT);
  compileRecipe(recipe);
  return recipe;
}

/**
 * What `compress` would do with a model folder or a safetensors file: formats, sizes and an estimate of memory. Reads headers only.
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
 * Compresses a model folder into a folder, or a safetensors file into one: streams tensor by tensor, quantizes on the GPU and
 * copies what the recipe keeps byte for byte. Where it fails, nothing is written: `output` is committed at the very end, else
 * aborted. A `ByteSource` is closed.
 * @throws ArgumentError where source and output do not fit; ModelError, FileError, FormatError, RecipeError; NonFiniteError
 * naming the tensor; CancelledError; OutOfMemoryError, DeviceLostError.
 */
export async function compress(
  source: ModelFiles | ByteSource,
  output: OutputFolder | ByteSink,
  options: CompressOptions,
): Promise<CompressReport> {
  const { gpu, signal, onProgress, chunkBytes } = options;
  const started = performance.now();
  try {
    const folder = 'file' in output ? output : undefined;
    const { checkpoint, plan, recipe } = await prepare(source, options, folder !== undefined);
    try {
      options.onPlan?.(plan.summary);
      const sink = folder ? await folder.file(WEIGHTS_FILE) : (output as ByteSink);
      const metadata: Record<string, string> =
        plan.tree.weights.size > 0 ? { [WEIGHT_TREE_KEY]: serializeWeightTree(plan.tree) } : {};
      const writer = await writeSafetensors(
        sink,
        plan.tensors.flatMap((tensor) => tensor.specs),
        { ...checkpoint.metadata, ...metadata },
      );
      const strict = folder !== undefined;
      await writeTensors({
        checkpoint,
        plan,
        writer,
        gpu,
        strict,
        ...(chunkBytes !== undefined && { chunkBytes }),
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
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

/** Opens the source, which is the caller's no more, and decides what becomes of each tensor. */
async function prepare(
  source: ModelFiles | ByteSource,
  options: RecipeOptions,
  intoFolder?: boolean,
): Promise<{ checkpoint: Checkpoint; plan: Plan; recipe: Recipe }> {
  const { signal, chunkBytes } = options;
  const file = 'read' in source ? source : undefined;
  let recipe: Recipe;
  try {
    checkCancelled(signal, WHAT);
    if (intoFolder !== undefined && intoFolder === (file !== undefined)) {
      throw new ArgumentError('A model folder is compressed into a folder, and a safetensors file into a file.');
    }
    recipe = recipeOf(options);
  } catch (error) {
    await file?.close();
    throw error;
  }
  const checkpoint = await openCheckpoint(source, { checkWeight, ...(signal && { signal }) });
  try {
    // A model that is compressed already lacks tensors that its config asks for; planTensors says why.
    const graph = checkpoint.tree ? undefined : graphOfCheckpoint(checkpoint, file === undefined);
    return { checkpoint, plan: planTensors(checkpoint, graph, recipe, chunkBytes), recipe };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

interface Work {
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly writer: SafetensorsWriter;
  readonly gpu: Gpu;
  readonly chunkBytes?: number;
  /** Refuse NaN and infinity in tensors that are copied, too: in a model nothing good has them. */
  readonly strict: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CompressProgress) => void;
}

/** Some rows of a tensor. */
interface Chunk {
  readonly tensor: PlannedTensor;
  readonly rowStart: number;
  readonly rows: number;
  readonly last: boolean;
}

async function writeTensors(work: Work): Promise<void> {
  const { checkpoint, plan, signal } = work;
  const chunks = plan.tensors.flatMap((tensor) => chunksOf(tensor, work));
  const read = (chunk: Chunk | undefined): Promise<Uint8Array> | undefined => {
    const pending = chunk && checkpoint.read(chunk.tensor.info, chunk.rowStart, chunk.rows, signal);
    // Where the work stops before it is awaited, its failure is nobody's concern.
    pending?.catch(() => undefined);
    return pending;
  };
  const total = plan.summary.bytesBefore;
  let done = 0;
  /** Arrays that follow the codes in the file, of the tensor at work: small beside them. */
  let held: Uint8Array[][] = [];
  let next = read(chunks[0]);
  for (const [i, chunk] of chunks.entries()) {
    checkCancelled(signal, WHAT);
    const bytes = (await next)!;
    // The next chunk comes while the GPU works on this one.
    next = read(chunks[i + 1]);
    const { info, target, specs } = chunk.tensor;
    const arrays = target ? await quantizeChunk(work, chunk, target, bytes) : [bytes];
    if (!target && work.strict) checkFinite(chunk, bytes);
    await work.writer.write(specs[0]!.name, arrays[0]!);
    held.push(arrays.slice(1));
    if (chunk.last) {
      for (let array = 1; array < specs.length; array++) {
        for (const part of held) await work.writer.write(specs[array]!.name, part[array - 1]!);
      }
      held = [];
    }
    done += bytes.byteLength;
    work.onProgress?.({ done, total, tensor: info.name });
  }
}

/** Whole tensors where they fit, else runs of rows that every binding of the device takes. */
function chunksOf(tensor: PlannedTensor, { gpu, chunkBytes }: Work): Chunk[] {
  const { info, target } = tensor;
  const fileRows = info.shape[0] ?? 1;
  let most = chunkRows(info.byteLength / Math.max(1, fileRows), chunkBytes);
  if (target) {
    const k = info.shape[1]!;
    const limit = gpu.limits.maxStorageBufferBindingSize;
    most = Math.min(most, rowsPerPart(denseFormatOf(info.type)!, k, limit), rowsPerPart(target, k, limit));
  }
  const chunks: Chunk[] = [];
  if (info.byteLength === 0) return chunks;
  for (let rowStart = 0; rowStart < fileRows; rowStart += most) {
    const rows = Math.min(most, fileRows - rowStart);
    chunks.push({ tensor, rowStart, rows, last: rowStart + rows === fileRows });
  }
  return chunks;
}

/** The arrays of `target` for some rows, without padding. All come back in one read. */
async function quantizeChunk(work: Work, chunk: Chunk, target: Format, bytes: Uint8Array): Promise<Uint8Array[]> {
  const { gpu, signal } = work;
  const { rows, rowStart } = chunk;
  const { info } = chunk.tensor;
  const k = info.shape[1]!;
  const alignment = gpu.limits.minStorageBufferOffsetAlignment;
  const align = (offset: number) => Math.ceil(offset / alignment) * alignment;
  // One buffer: the word that reports a bad weight, then each array where a binding may start.
  let end = align(4);
  const views = target.arrays.map((array) => {
    const view = { offset: end, size: arrayBytes(array, rows, k) };
    end = align(view.offset + view.size);
    return view;
  });
  const input = gpu.memory.allocate(Math.ceil(bytes.byteLength / 4) * 4, info.name);
  const result = gpu.memory.allocate(end, `${info.name} as ${target.name}`);
  try {
    gpu.upload(result, new Uint8Array(4));
    gpu.upload(input, padToWord(bytes));
    const step = quantizeStep({
      source: denseFormatOf(info.type)!,
      from: { buffer: input },
      format: target,
      to: views.map((view) => ({ buffer: result, ...view })),
      rows,
      k,
      bad: { buffer: result, offset: 0, size: 4 },
      name: info.name,
    });
    await gpu.scheduler.run([step], { label: WHAT });
    const all = await gpu.readBack(result, 0, end);
    checkCancelled(signal, WHAT);
    const bad = new DataView(all.buffer).getUint32(0, true);
    if (bad !== 0) throw nonFinite(rowStart * k + (~bad >>> 0), k, 'is NaN or infinite', info.name);
    return target.arrays.map((array, i) => {
      const { offset } = views[i]!;
      return all.subarray(offset, offset + contentBytes(array, rows, k));
    });
  } finally {
    gpu.memory.release(input);
    gpu.memory.release(result);
  }
}

/** @throws NonFiniteError for a NaN or an infinity among the elements of a chunk that is copied. */
function checkFinite({ tensor: { info }, rowStart }: Chunk, bytes: Uint8Array): void {
  const { type, shape } = info;
  if (type !== 'F32' && type !== 'F16' && type !== 'BF16') return;
  const buffer = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  // An exponent of all ones, whatever the type.
  const words =
    type === 'F32'
      ? new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.byteLength / 4)
      : new Uint16Array(buffer.buffer, buffer.byteOffset, buffer.byteLength / 2);
  const mask = type === 'F32' ? 0x7f80_0000 : type === 'F16' ? 0x7c00 : 0x7f80;
  const bad = words.findIndex((word) => (word & mask) === mask);
  if (bad < 0) return;
  const k = shape.length < 2 ? (shape[0] ?? 1) : shape.slice(1).reduce((product, size) => product * size, 1);
  const before = shape.length < 2 ? rowStart : rowStart * k;
  throw nonFinite(before + bad, k, 'is NaN or infinite', info.name);
}

async function copySideFiles(checkpoint: Checkpoint, folder: OutputFolder): Promise<void> {
  for (const name of SIDE_FILES) {
    const bytes = await checkpoint.fileBytes(name);
    if (!bytes) continue;
    const sink = await folder.file(name);
    await sink.write(bytes);
    await sink.commit();
  }
}

function padToWord(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  return padded;
}
