import { ModelError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { ElementType } from '../formats/format.ts';
import { formatBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Graph } from '../graph/graph.ts';
import { guessRole } from '../passes/plan.ts';
import type { Role } from '../passes/recipe.ts';
import {
  chunkRows,
  denseFormatOf,
  matrixShape,
  readValues,
  type StoredWeight,
  weightsOf,
} from '../passes/stored-weight.ts';
import type { Report } from './report-schema.ts';

/** One weight in both checkpoints. */
export interface WeightPair {
  readonly name: string;
  readonly role: Role;
  /** Whether a model that runs has it on the GPU. */
  readonly loaded: boolean;
  readonly original: StoredWeight;
  readonly compressed: StoredWeight;
}

/** Every weight of the original beside its compressed form. @throws ModelError when the two do not hold the same weights */
export function pairWeights(original: Checkpoint, compressed: Checkpoint, graph: Graph | undefined): WeightPair[] {
  const others = weightsOf(compressed);
  const roles = new Map(graph?.weights.map(({ name, role }) => [name, role] as const));
  return [...weightsOf(original)].map(([name, stored]) => {
    const other = others.get(name);
    if (!other || String(other.shape) !== String(stored.shape)) {
      throw new ModelError(
        `${compressed.name}: weight "${name}" is ${other ? `[${other.shape}]` : 'missing'}; ${original.name} has [${stored.shape}]. These are not the same model.`,
      );
    }
    const role = graph ? (roles.get(name) ?? 'other') : guessRole({ name, shape: stored.shape });
    return { name, role, loaded: !graph || roles.has(name), original: stored, compressed: other };
  });
}

/** Bytes that `loadWeights` takes on the GPU for a weight. */
export function bytesOnGpu(stored: StoredWeight, role: Role): number {
  const { rows, k } = matrixShape(stored.shape);
  if (stored.kind === 'quantized') return formatBytes(stored.format, rows, k);
  const vector = role === 'norm' || role === 'bias';
  const format = vector ? undefined : denseFormatOf(stored.info.type);
  return formatBytes(format ?? formatByName('f32'), rows, k);
}

/** The format of a stored weight, or its element type in lower case. */
export const formatNameOf = (stored: StoredWeight): string =>
  stored.kind === 'quantized' ? stored.format.name : stored.info.type.toLowerCase();

/**
 * Size of every weight in both checkpoints and its error, in f64, read in chunks. Without errors where both are the same checkpoint.
 * @throws FileError, CancelledError
 */
export async function compareSizes(
  original: Checkpoint,
  compressed: Checkpoint,
  pairs: readonly WeightPair[],
  options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<Report['size']> {
  const { signal, onProgress } = options;
  const tensors: Report['size']['tensors'] = [];
  for (const pair of pairs) {
    checkCancelled(signal, 'The verification');
    const { name, role, loaded } = pair;
    const errors = original === compressed ? undefined : await errorOf(original, compressed, pair, signal);
    tensors.push({
      name,
      shape: [...pair.original.shape],
      format: formatNameOf(pair.compressed),
      original: bytesOnDisk(pair.original),
      compressed: bytesOnDisk(pair.compressed),
      onGpu: {
        original: loaded ? bytesOnGpu(pair.original, role) : 0,
        compressed: loaded ? bytesOnGpu(pair.compressed, role) : 0,
      },
      relativeError: errors?.relative ?? null,
      squaredError: errors?.squared ?? null,
    });
    onProgress?.(tensors.length, pairs.length);
  }
  const sum = (of: (tensor: (typeof tensors)[number], i: number) => number) =>
    tensors.reduce((total, tensor, i) => total + of(tensor, i), 0);
  const bits = (counts: (role: Role) => boolean) => {
    const weights = sum(({ shape }, i) => (counts(pairs[i]!.role) ? shape.reduce((product, n) => product * n, 1) : 0));
    return (8 * sum(({ compressed }, i) => (counts(pairs[i]!.role) ? compressed : 0))) / Math.max(1, weights);
  };
  return {
    original: sum((t) => t.original),
    compressed: sum((t) => t.compressed),
    onGpu: { original: sum((t) => t.onGpu.original), compressed: sum((t) => t.onGpu.compressed) },
    bitsPerWeight: {
      all: bits(() => true),
      withoutEmbeddings: bits((role) => role !== 'embedding' && role !== 'head'),
    },
    tensors,
  };
}

const bytesOnDisk = (stored: StoredWeight): number =>
  (stored.kind === 'quantized' ? stored.parts : [stored.info]).reduce((sum, { byteLength }) => sum + byteLength, 0);

const REAL_TYPES: readonly ElementType[] = ['F64', 'F32', 'F16', 'BF16'];

const isReal = (stored: StoredWeight): boolean => stored.kind === 'quantized' || REAL_TYPES.includes(stored.info.type);

/** Error of a weight; undefined where its elements are no real numbers. */
async function errorOf(
  original: Checkpoint,
  compressed: Checkpoint,
  { original: a, compressed: b }: WeightPair,
  signal?: AbortSignal,
): Promise<{ relative: number; squared: number } | undefined> {
  if (!isReal(a) || !isReal(b)) return undefined;
  // A vector's rows are its elements, and a scalar is one.
  const rows = a.shape[0] ?? 1;
  const k = a.shape.length < 2 ? 1 : matrixShape(a.shape).k;
  const step = chunkRows(4 * k);
  let squared = 0;
  let total = 0;
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const x = await readValues(original, a, row, count, signal);
    const y = await readValues(compressed, b, row, count, signal);
    for (let i = 0; i < x.length; i++) {
      const exact = x[i]!;
      const difference = exact - y[i]!;
      squared += difference * difference;
      total += exact * exact;
    }
  }
  return { squared, relative: total === 0 ? (squared === 0 ? 0 : 1) : Math.sqrt(squared / total) };
}
