import { ArgumentError, CancelledError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { type Checkpoint, openCheckpoint } from '../files/checkpoint.ts';
import { decodeToF32 } from '../files/convert.ts';
import type { GgufEntry } from '../files/gguf/entries.ts';
import { readReordered, sourceRow } from '../files/gguf/row-order.ts';
import { tokenizerProblem } from '../files/gguf/tokenizer-read.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { ByteSink, OutputFolder } from '../files/sink.ts';
import type { ByteSource } from '../files/source.ts';
import { nonFinite } from '../formats/checks.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { quantizeStep } from '../kernels/quantize.ts';
import { rowsPerPart } from '../kernels/weight.ts';
import { ggufMetadata } from './gguf-metadata.ts';
import { type GgufTarget, ggufTarget } from './gguf-plan.ts';
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
import { ggufOutput, safetensorsOutput, type TensorOutput } from './tensor-output.ts';

export interface CompressProgress {
  /** Bytes of the input done and in all. */
  readonly done: number;
  readonly total: number;
  /** The tensor at work. */
  readonly tensor: string;
}

/** What a compression writes: a folder as Hugging Face has them, or a single file. */
export type OutputKind = 'folder' | 'safetensors' | 'gguf';

export interface RecipeOptions {
  /** Which format each matrix gets. */
  readonly recipe?: Recipe;
  /** In place of a recipe: this format for all linear matrices, or `keep` for none. Default: `q4_0`. */
  readonly format?: string;
  /** What is written. Default: a folder where there is one; a file by the ending of its name, `.gguf` or else safetensors. */
  readonly output?: OutputKind;
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
  const { gpu, signal, onProgress, chunkBytes } = options;
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

/** What goes into `output`. @throws ArgumentError where it can't be what is wanted */
function kindOf(output: OutputFolder | ByteSink, wanted: OutputKind | undefined): OutputKind {
  const folder = 'file' in output;
  if (wanted === undefined) return folder ? 'folder' : /\.gguf$/i.test(output.name) ? 'gguf' : 'safetensors';
  if (folder === (wanted === 'folder')) return wanted;
  throw new ArgumentError(`${output.name} is a ${folder ? 'folder' : 'file'}, so it can't be written as ${wanted}.`);
}

interface Prepared {
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly recipe: Recipe;
  /** Refuse infinity in tensors that are copied, too, as NaN always is: bare tensors may be masks, those of a model are not. */
  readonly strict: boolean;
  readonly gguf?: { readonly target: GgufTarget; readonly entries: readonly GgufEntry[] };
}

/** Opens the source, which is the caller's no more, and decides what becomes of each tensor. */
async function prepare(
  source: ModelFiles | ByteSource,
  options: RecipeOptions,
  output?: OutputFolder | ByteSink,
): Promise<Prepared> {
  const { signal, chunkBytes } = options;
  const file = 'read' in source ? source : undefined;
  let recipe: Recipe;
  let kind: OutputKind | undefined;
  try {
    checkCancelled(signal, WHAT);
    kind = output ? kindOf(output, options.output) : options.output;
    recipe = recipeOf(options);
  } catch (error) {
    await file?.close();
    throw error;
  }
  const checkpoint = await openCheckpoint(source, { checkWeight, ...(signal && { signal }) });
  try {
    if (kind !== undefined && kind !== 'safetensors' && file && !checkpoint.config) {
      throw new ArgumentError(
        `${checkpoint.name}: it holds bare tensors, which are compressed into a .safetensors file only. ` +
          (checkpoint.configProblem ?? 'Give the folder of the model to get a folder or a GGUF file.'),
      );
    }
    const graph = graphOfCheckpoint(checkpoint, file === undefined);
    const target = kind === 'gguf' ? ggufTarget(checkpoint) : undefined;
    const notices = await lostWith(checkpoint, kind);
    const plan = planTensors(checkpoint, graph, recipe, {
      notices,
      ...(chunkBytes !== undefined && { chunkBytes }),
      ...(target && { gguf: target }),
    });
    const gguf = target && { target, entries: await ggufMetadata(checkpoint, target, plan, signal) };
    return { checkpoint, plan, recipe, strict: graph !== undefined, ...(gguf && { gguf }) };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** What a file of kind `kind` can't take over. */
async function lostWith(checkpoint: Checkpoint, kind: OutputKind | undefined): Promise<string[]> {
  if (kind === 'safetensors') {
    return checkpoint.config ? ['A .safetensors file holds the weights only: no config, no tokenizer.'] : [];
  }
  const missing = (await checkpoint.fileBytes('tokenizer.json')) === undefined;
  if (checkpoint.gguf && kind !== 'gguf') {
    const problem = missing ? await tokenizerProblem(checkpoint.gguf) : undefined;
    return problem === undefined ? [] : [`The tokenizer is left out: ${problem}.`];
  }
  return missing && !checkpoint.gguf && kind === 'gguf'
    ? ['There is no tokenizer.json, so the file has no tokenizer.']
    : [];
}

interface Work {
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly writer: TensorOutput;
  readonly gpu: Gpu;
  readonly chunkBytes?: number;
  /** Refuse infinity in tensors that are copied, too, as NaN always is: bare tensors may be masks, those of a model are not. */
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
  const { plan, signal } = work;
  const chunks = plan.tensors.flatMap((tensor) => chunksOf(tensor, work));
  const read = (chunk: Chunk | undefined): Promise<Uint8Array[]> | undefined => {
    const pending = chunk && readChunk(work, chunk);
    // Where the work stops before it is awaited, its failure is nobody's concern.
    pending?.catch(() => undefined);
    return pending;
  };
  const total = plan.summary.bytesBefore;
  let done = 0;
  let next = read(chunks[0]);
  for (const [i, chunk] of chunks.entries()) {
    checkCancelled(signal, WHAT);
    const arrays = (await next)!;
    // The next chunk comes while the GPU works on this one.
    next = read(chunks[i + 1]);
    const { name, weight, target, gguf } = chunk.tensor;
    done += arrays.reduce((sum, array) => sum + array.byteLength, 0);
    let written = arrays;
    if (weight.kind === 'dense') {
      if (target) written = await quantizeChunk(work, chunk, weight.info, target, arrays[0]!);
      else {
        checkFinite(chunk, weight.info, arrays[0]!, work.strict);
        if (gguf?.toF32) written = [new Uint8Array(decodeToF32(arrays[0]!, weight.info.type).buffer)];
      }
    }
    await work.writer.write(chunk.tensor, written, chunk.rows, chunk.last);
    work.onProgress?.({ done, total, tensor: name });
  }
}

/** The stored arrays of some rows, in the order that the output has. */
async function readChunk({ checkpoint, signal }: Work, { tensor, rowStart, rows }: Chunk): Promise<Uint8Array[]> {
  const { weight, gguf } = tensor;
  const arrays: Uint8Array[] = [];
  for (const info of weight.kind === 'quantized' ? weight.parts : [weight.info]) {
    const read = (start: number, count: number) => checkpoint.read(info, start, count, signal);
    arrays.push(gguf?.order ? await readReordered(read, gguf.order, rowStart, rows) : await read(rowStart, rows));
  }
  return arrays;
}

/** Whole tensors where they fit, else runs of rows that every binding of the device takes. */
function chunksOf(tensor: PlannedTensor, { gpu, chunkBytes }: Work): Chunk[] {
  const { weight, target, report } = tensor;
  // Opaque ones have rows of their own.
  const { shape } = weight.kind === 'opaque' ? weight.info : weight;
  const fileRows = shape[0] ?? 1;
  let most = chunkRows(report.bytesBefore / Math.max(1, fileRows), chunkBytes);
  if (target && weight.kind === 'dense') {
    const k = shape[1]!;
    const limit = gpu.limits.maxStorageBufferBindingSize;
    most = Math.min(most, rowsPerPart(denseFormatOf(weight.info.type)!, k, limit), rowsPerPart(target, k, limit));
  }
  const chunks: Chunk[] = [];
  if (report.bytesBefore === 0) return chunks;
  for (let rowStart = 0; rowStart < fileRows; rowStart += most) {
    const rows = Math.min(most, fileRows - rowStart);
    chunks.push({ tensor, rowStart, rows, last: rowStart + rows === fileRows });
  }
  return chunks;
}

/** The row of the checkpoint that a chunk has at `row`. */
function storedRow({ tensor: { gguf }, rowStart }: Chunk, row: number): number {
  return gguf?.order ? sourceRow(gguf.order, rowStart + row) : rowStart + row;
}

/** The error for the weight at `index` of a chunk with `k` columns. */
const badWeight = (chunk: Chunk, index: number, k: number, what = 'is NaN or infinite') =>
  nonFinite(storedRow(chunk, Math.floor(index / k)) * k + (index % k), k, what, chunk.tensor.name);

/** The arrays of `target` for some rows, without padding. All come back in one read. */
async function quantizeChunk(
  work: Work,
  chunk: Chunk,
  info: TensorInfo,
  target: Format,
  bytes: Uint8Array,
): Promise<Uint8Array[]> {
  const { gpu, signal } = work;
  const { rows } = chunk;
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
    if (bad !== 0) throw badWeight(chunk, ~bad >>> 0, k);
    return target.arrays.map((array, i) => {
      const { offset } = views[i]!;
      return all.subarray(offset, offset + contentBytes(array, rows, k));
    });
  } finally {
    gpu.memory.release(input);
    gpu.memory.release(result);
  }
}

/** @throws NonFiniteError for a NaN, or where `strict` an infinity, among the elements of a chunk that is copied. */
function checkFinite(chunk: Chunk, info: TensorInfo, bytes: Uint8Array, strict: boolean): void {
  const { type, shape } = info;
  const bad = findNonFinite(type, bytes, strict);
  if (bad < 0) return;
  const what = strict ? 'is NaN or infinite' : 'is NaN';
  // The elements of a vector are the rows that were read, but people count columns.
  if (shape.length < 2) throw nonFinite(storedRow(chunk, bad), shape[0] ?? 1, what, info.name);
  const k = shape.slice(1).reduce((product, size) => product * size, 1);
  throw badWeight(chunk, bad, k, what);
}

/** Index of the first NaN, or with `infinite` the first infinity as well; -1 where there is none. */
function findNonFinite(type: TensorInfo['type'], bytes: Uint8Array, infinite: boolean): number {
  const size = type === 'F64' ? 8 : type === 'F32' ? 4 : 2;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  if (type === 'F64') {
    const values = new Float64Array(buffer, byteOffset, byteLength / size);
    return values.findIndex(infinite ? (x) => !Number.isFinite(x) : Number.isNaN);
  }
  // Without its sign, an infinity is an exponent of all ones, and every NaN is above that. A plain loop: this is all of a large file.
  const infinity = type === 'F32' ? 0x7f80_0000 : type === 'F16' ? 0x7c00 : type === 'BF16' ? 0x7f80 : undefined;
  if (infinity === undefined) return -1;
  const least = infinite ? infinity : infinity + 1;
  if (type === 'F32') {
    const words = new Uint32Array(buffer, byteOffset, byteLength / size);
    for (let i = 0; i < words.length; i++) if ((words[i]! & 0x7fff_ffff) >= least) return i;
    return -1;
  }
  const words = new Uint16Array(buffer, byteOffset, byteLength / size);
  for (let i = 0; i < words.length; i++) if ((words[i]! & 0x7fff) >= least) return i;
  return -1;
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
