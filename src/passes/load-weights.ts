import { ModelError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { decodeToF32, encodeF16 } from '../files/convert.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes, contentBytes, setsOf } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph, GraphWeight } from '../graph/graph.ts';
import { loadPackedProducts } from '../kernels/packed-products.ts';
import { stackLimits } from '../kernels/stack-weights.ts';
import { allocateWeight, padToWord, uploadWeight, type Weight } from '../kernels/weight.ts';
import { checkTensors } from '../models/check-tensors.ts';
import type { WeightSource } from './calibration/walk.ts';
import {
  checkColumns,
  chunkRows,
  denseFormatOf,
  findWeight,
  matrixShape,
  readScales,
  readValues,
  type StoredWeight,
  weightsOf,
} from './stored-weight.ts';
import { allocateRun, placeOf, weightRuns } from './weight-runs.ts';

/** The types in which weights are held on the GPU. */
export interface LoadOptions {
  /** Convert dense matrices to this; default: each as it is stored. */
  readonly dense?: 'f32' | 'f16';
  /** The same for the embedding and the head; default: what `dense` says. */
  readonly embeddings?: 'f32' | 'f16';
  /** Bytes to read at a time; default: 64 MiB. */
  readonly chunkBytes?: number;
}

/** Checks that a checkpoint, compressed or not, holds every weight of the graph. @throws ModelError */
export function checkGraphWeights(checkpoint: Checkpoint, graph: Graph): void {
  checkTensors(graph, weightsOf(checkpoint), checkpoint.name);
}

/**
 * Brings every weight of the graph onto the GPU, in chunks: quantized ones as they are, dense matrices in their own type or
 * the one wanted, norms and biases as one row of f32. Those that multiply the same input follow each other in memory (`weightRuns`). The caller releases them.
 * @throws ModelError, FileError, OutOfMemoryError, CancelledError; NonFiniteError for a value too large for f16.
 */
export async function loadWeights(
  gpu: Gpu,
  checkpoint: Checkpoint,
  graph: Graph,
  options: LoadOptions = {},
  signal?: AbortSignal,
): Promise<Map<string, Weight>> {
  checkGraphWeights(checkpoint, graph);
  const weights = new Map<string, Weight>();
  try {
    for (const run of weightRuns(graph, stackLimits(gpu), placeOf(checkpoint, options))) {
      await loadPackedProducts(run.map(({ format }) => format));
      const rooms = run.length > 1 ? allocateRun(gpu, run) : [];
      for (const [i, room] of rooms.entries()) weights.set(run[i]!.wanted.name, room);
      for (const [i, { wanted }] of run.entries()) {
        checkCancelled(signal, 'Loading the model');
        const given = rooms[i];
        if (given) await fillWeight(gpu, checkpoint, given, wanted, options, signal);
        else weights.set(wanted.name, await loadWeight(gpu, checkpoint, wanted, options, signal));
      }
    }
    return weights;
  } catch (error) {
    for (const weight of weights.values()) weight.release();
    throw error;
  }
}

/**
 * The weights of the graph as f32 on the CPU, for the f64 reference: dequantized by the formats' own references. All are
 * held in memory.
 */
export async function dequantizedWeights(
  checkpoint: Checkpoint,
  graph: Graph,
  signal?: AbortSignal,
): Promise<(name: string) => Float32Array> {
  checkGraphWeights(checkpoint, graph);
  const values = new Map<string, Float32Array>();
  for (const { name } of graph.weights) {
    values.set(name, await readValues(checkpoint, findWeight(checkpoint, name), 0, undefined, signal));
  }
  return (name) => {
    const found = values.get(name);
    if (!found) throw new ModelError(`${checkpoint.name}: the graph has no weight "${name}".`);
    return found;
  };
}

/** The format in which `loadWeight` puts a weight on the GPU, or some rows of it, which have exact scales where a whole matrix has them quantized. */
export const gpuFormat = (
  stored: StoredWeight,
  role: GraphWeight['role'],
  options: LoadOptions & { readonly rows?: RowRange | number } = {},
): Format => {
  if (stored.kind === 'dense') return targetOf(stored.info, role, options);
  return (options.rows !== undefined && stored.format.single) || stored.format;
};

/**
 * Brings some rows of a matrix onto the GPU as a matrix of those rows only: all that an embedding reads for a text. Neighbours are read
 * together. `rows` ascend. The caller releases it.
 * @throws FileError, OutOfMemoryError, CancelledError
 */
export async function gatherRows(
  gpu: Gpu,
  checkpoint: Checkpoint,
  { name, role }: Pick<GraphWeight, 'name' | 'role'>,
  rows: Uint32Array,
  signal?: AbortSignal,
): Promise<Weight> {
  const stored = findWeight(checkpoint, name);
  const format = gpuFormat(stored, role, { rows: rows.length });
  const { k } = matrixShape(stored.shape);
  const arrays: HostArrays = {};
  for (const [i, array] of format.arrays.entries()) {
    const rowBytes = contentBytes(array, 1, k);
    const all = new Uint8Array(arrayBytes(array, rows.length, k));
    for (const { at, range } of runsOf(rows, sourceRowBytes(stored, i))) {
      const bytes = await readPart(checkpoint, stored, i, format, range, signal);
      for (let row = at; row < rows.length && rows[row]! < range.start + range.count; row++) {
        const from = (rows[row]! - range.start) * rowBytes;
        all.set(bytes.subarray(from, from + rowBytes), row * rowBytes);
      }
    }
    arrays[array.name] = all;
  }
  return uploadWeight(gpu, format, rows.length, k, arrays, name);
}

/** Bytes between two rows that cost less to read than a second request does. */
const GAP_BYTES = 32 * 1024;

/** Most bytes of rows that are read together. */
const RUN_BYTES = 4 * 1024 * 1024;

/** Ranges that cover the rows, each with the index of its first one. */
function* runsOf(rows: Uint32Array, rowBytes: number): Generator<{ at: number; range: RowRange }> {
  for (let at = 0; at < rows.length; ) {
    const start = rows[at]!;
    let end = at + 1;
    while (
      end < rows.length &&
      (rows[end]! - rows[end - 1]! - 1) * rowBytes <= GAP_BYTES &&
      (rows[end]! - start + 1) * rowBytes <= RUN_BYTES
    ) {
      end++;
    }
    yield { at, range: { start, count: rows[end - 1]! - start + 1 } };
    at = end;
  }
}

/** The format in which a dense weight lies on the GPU. */
function targetOf(info: TensorInfo, role: GraphWeight['role'], options: LoadOptions): Format {
  if (role === 'norm' || role === 'bias') return formatByName('f32');
  const choice = role === 'linear' ? options.dense : (options.embeddings ?? options.dense);
  return choice === undefined ? (denseFormatOf(info.type) ?? formatByName('f32')) : formatByName(choice);
}

/** The weights of a checkpoint, for a walk through its graph. */
export const checkpointSource = (gpu: Gpu, checkpoint: Checkpoint, signal?: AbortSignal): WeightSource => ({
  load: (weight) => loadWeight(gpu, checkpoint, weight, {}, signal),
  gather: (weight, rows) => gatherRows(gpu, checkpoint, weight, rows, signal),
});

/** Consecutive rows of a matrix, or elements of a vector. */
export interface RowRange {
  readonly start: number;
  readonly count: number;
}

/**
 * Brings one weight onto the GPU, as `loadWeights` does, or some rows of it. The caller releases it.
 * @throws FileError, OutOfMemoryError, CancelledError; NonFiniteError for a value too large for f16.
 */
export async function loadWeight(
  gpu: Gpu,
  checkpoint: Checkpoint,
  { name, role }: Pick<GraphWeight, 'name' | 'role'>,
  options: LoadOptions & { readonly rows?: RowRange } = {},
  signal?: AbortSignal,
): Promise<Weight> {
  const stored = findWeight(checkpoint, name);
  const format = gpuFormat(stored, role, options);
  await loadPackedProducts([format]);
  const whole = matrixShape(stored.shape);
  const isVector = stored.shape.length < 2;
  const rows = isVector ? 1 : (options.rows?.count ?? whole.rows);
  const k = isVector ? (options.rows?.count ?? whole.k) : whole.k;
  const weight = allocateWeight(gpu, format, rows, k, name);
  try {
    await fillWeight(gpu, checkpoint, weight, { name }, options, signal);
    return weight;
  } catch (error) {
    weight.release();
    throw error;
  }
}

/** Brings a weight, or some rows of it, into the room that is there for it. */
async function fillWeight(
  gpu: Gpu,
  checkpoint: Checkpoint,
  weight: Weight,
  { name }: Pick<GraphWeight, 'name'>,
  options: LoadOptions & { readonly rows?: RowRange } = {},
  signal?: AbortSignal,
): Promise<void> {
  const stored = findWeight(checkpoint, name);
  const { format, k } = weight;
  const isVector = stored.shape.length < 2;
  const first = options.rows?.start ?? 0;
  for (const part of weight.parts) {
    for (const [i, array] of format.arrays.entries()) {
      const view = part.arrays[i]!;
      // What several rows share is little.
      const shared = [array.span, array.band, array.sets].some((count) => count !== undefined);
      const step = shared
        ? part.rows
        : chunkRows(Math.max(contentBytes(array, 1, k), sourceRowBytes(stored, i)), options.chunkBytes);
      for (let row = 0; row < part.rows; row += step) {
        const range = isVector
          ? { start: first, count: k }
          : { start: first + part.rowStart + row, count: Math.min(step, part.rows - row) };
        const bytes = await readPart(checkpoint, stored, i, format, range, signal);
        gpu.upload(view.buffer, padToWord(bytes), (view.offset ?? 0) + contentBytes(array, row, k));
      }
    }
  }
}

const sourceRowBytes = (stored: StoredWeight, part: number): number => {
  const info = stored.kind === 'quantized' ? stored.parts[part]! : stored.info;
  return info.byteLength / Math.max(1, info.shape[0] ?? 1);
};

/** Bytes of one array of some rows, converted where the device holds another type than the file. */
async function readPart(
  checkpoint: Checkpoint,
  stored: StoredWeight,
  part: number,
  format: Format,
  { start, count }: RowRange,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (stored.kind === 'quantized') {
    if (format !== stored.format && part > 0) return readScales(checkpoint, stored, start, count, signal);
    const sets = setsOf(format.arrays[part]!, start, count, stored.shape[1]);
    const bytes = await checkpoint.read(stored.parts[part]!, sets.start, sets.count, signal);
    checkColumns(checkpoint, stored, part, bytes);
    return bytes;
  }
  const { info } = stored;
  const bytes = await checkpoint.read(info, start, count, signal);
  if (format === denseFormatOf(info.type)) return bytes;
  const values = decodeToF32(bytes, info.type);
  return format.name === 'f16' ? encodeF16(values, info.name) : new Uint8Array(values.buffer);
}
