import { ModelError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { decodeToF32, encodeF16 } from '../files/convert.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { Format } from '../formats/format.ts';
import { contentBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph, GraphWeight } from '../graph/graph.ts';
import { allocateWeight, padToWord, type Weight } from '../kernels/weight.ts';
import { checkTensors } from '../models/check-tensors.ts';
import {
  chunkRows,
  denseFormatOf,
  findWeight,
  matrixShape,
  readValues,
  type StoredWeight,
  weightsOf,
} from './stored-weight.ts';

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
 * the one wanted, norms and biases as one row of f32. The caller releases them.
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
    for (const wanted of graph.weights) {
      checkCancelled(signal, 'Loading the model');
      weights.set(wanted.name, await loadWeight(gpu, checkpoint, wanted, options, signal));
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

/** The format in which a dense weight lies on the GPU. */
function targetOf(info: TensorInfo, role: GraphWeight['role'], options: LoadOptions): Format {
  if (role === 'norm' || role === 'bias') return formatByName('f32');
  const choice = role === 'linear' ? options.dense : (options.embeddings ?? options.dense);
  return choice === undefined ? (denseFormatOf(info.type) ?? formatByName('f32')) : formatByName(choice);
}

async function loadWeight(
  gpu: Gpu,
  checkpoint: Checkpoint,
  { name, role }: GraphWeight,
  options: LoadOptions,
  signal?: AbortSignal,
): Promise<Weight> {
  const stored = findWeight(checkpoint, name);
  const { rows, k } = matrixShape(stored.shape);
  const format = stored.kind === 'quantized' ? stored.format : targetOf(stored.info, role, options);
  const weight = allocateWeight(gpu, format, rows, k, name);
  try {
    for (const part of weight.parts) {
      for (const [i, array] of format.arrays.entries()) {
        const view = part.arrays[i]!;
        const step = chunkRows(Math.max(contentBytes(array, 1, k), sourceRowBytes(stored, i)), options.chunkBytes);
        for (let row = 0; row < part.rows; row += step) {
          const count = Math.min(step, part.rows - row);
          const bytes = await readPart(checkpoint, stored, i, format, part.rowStart + row, count, signal);
          gpu.upload(view.buffer, padToWord(bytes), (view.offset ?? 0) + contentBytes(array, row, k));
        }
      }
    }
    return weight;
  } catch (error) {
    weight.release();
    throw error;
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
  rowStart: number,
  rows: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (stored.kind === 'quantized') return checkpoint.read(stored.parts[part]!, rowStart, rows, signal);
  const { info } = stored;
  // A vector is one row on the GPU and one row an element in the file.
  const bytes =
    info.shape.length < 2
      ? await checkpoint.read(info, 0, undefined, signal)
      : await checkpoint.read(info, rowStart, rows, signal);
  if (format === denseFormatOf(info.type)) return bytes;
  const values = decodeToF32(bytes, info.type);
  return format.name === 'f16' ? encodeF16(values, info.name) : new Uint8Array(values.buffer);
}
