import { ModelError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { ElementType } from '../formats/format.ts';
import { formatBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { guessRole } from '../passes/plan.ts';
import { type Density, DensityCount } from '../passes/pruning/density.ts';
import type { Role } from '../passes/recipe.ts';
import { chunkRows, denseFormatOf, matrixShape, type StoredWeight } from '../passes/stored-weight.ts';
import { storedParts, WholeReader, type WholeWeight, wholeRoles, wholeWeights } from '../passes/whole-weight.ts';
import { type Graphs, sameBasis } from './compare-models.ts';
import type { Report } from './report-schema.ts';

/** One weight in both checkpoints. */
export interface WeightPair {
  readonly name: string;
  readonly role: Role;
  /** Whether each model, where it runs, has it on the GPU. */
  readonly loaded: { readonly original: boolean; readonly compressed: boolean };
  readonly original: WholeWeight;
  readonly compressed: WholeWeight;
}

/** The weights of two checkpoints, by name. */
export interface Pairing {
  readonly pairs: readonly WeightPair[];
  /** What only one of the two has. */
  readonly unpaired: Report['size']['unpaired'];
}

export const sameShape = ({ original, compressed }: Pick<WeightPair, 'original' | 'compressed'>): boolean =>
  String(original.shape) === String(compressed.shape);

/**
 * Every weight of the original beside its compressed form. Where graphs say what each model needs, the two may hold different weights,
 * as a pruned model does.
 * @throws ModelError when the two do not hold the same weights
 */
export function pairWeights(original: Checkpoint, compressed: Checkpoint, graphs: Graphs | undefined): Pairing {
  const others = wholeWeights(compressed);
  const rolesOf = (graph: Graph | undefined) =>
    new Map(graph && [...wholeRoles(graph)].map(([name, { role }]) => [name, role] as const));
  const roles = { original: rolesOf(graphs?.original), compressed: rolesOf(graphs?.compressed) };
  const pairs: WeightPair[] = [];
  const unpaired: Pairing['unpaired'] = { original: [], compressed: [] };
  for (const [name, stored] of wholeWeights(original)) {
    const other = others.get(name);
    others.delete(name);
    if (!graphs && (!other || !sameShape({ original: stored, compressed: other }))) {
      throw new ModelError(
        `${compressed.name}: weight "${name}" is ${other ? `[${other.shape}]` : 'missing'}; ${original.name} has [${stored.shape}]. These are not the same model.`,
      );
    }
    if (!other) {
      unpaired.original.push({ name, bytes: bytesOnDisk(stored) });
      continue;
    }
    const role = graphs
      ? (roles.original.get(name) ?? roles.compressed.get(name) ?? 'other')
      : guessRole({ name, shape: stored.shape });
    const loaded = {
      original: !graphs || roles.original.has(name),
      compressed: !graphs || roles.compressed.has(name),
    };
    pairs.push({ name, role, loaded, original: stored, compressed: other });
  }
  for (const [name, stored] of others) unpaired.compressed.push({ name, bytes: bytesOnDisk(stored) });
  if (pairs.length === 0 && unpaired.original.length > 0) {
    throw new ModelError(`${compressed.name} has no weight of ${original.name}. These are not the same model.`);
  }
  return { pairs, unpaired };
}

/** Bytes that `loadWeights` takes on the GPU for a weight. */
export const bytesOnGpu = (weight: WholeWeight, role: Role): number =>
  storedParts(weight).reduce((sum, stored) => sum + storedOnGpu(stored, role), 0);

function storedOnGpu(stored: StoredWeight, role: Role): number {
  const { rows, k } = matrixShape(stored.shape);
  if (stored.kind === 'quantized') return formatBytes(stored.format, rows, k);
  const vector = role === 'norm' || role === 'bias';
  const format = vector ? undefined : denseFormatOf(stored.info.type);
  return formatBytes(format ?? formatByName('f32'), rows, k);
}

/** The format of a stored weight, or its element type in lower case; of factors with their rank. */
export function formatNameOf(weight: WholeWeight): string {
  if (weight.kind === 'quantized') return weight.format.name;
  if (weight.kind === 'dense') return weight.info.type.toLowerCase();
  const { base, left, right } = weight;
  const factors = [...new Set([left, right].map(formatNameOf))].join('/');
  return `${base ? `${formatNameOf(base)} + ` : ''}${factors}, rank ${left.shape[1]}`;
}

/**
 * Size of every weight in both checkpoints, its error, in f64, and its values that are not finite, read in chunks. Without errors
 * where both are the same checkpoint.
 * @throws FileError, CancelledError
 */
export async function compareSizes(
  original: Checkpoint,
  compressed: Checkpoint,
  { pairs, unpaired }: Pairing,
  options: { gpu: Gpu; signal?: AbortSignal; onProgress?: (done: number, total: number) => void },
): Promise<Report['size']> {
  const { gpu, signal, onProgress } = options;
  const tensors: Report['size']['tensors'] = [];
  const comparable = sameBasis(original, compressed);
  for (const pair of pairs) {
    checkCancelled(signal, 'The verification');
    const { name, role, loaded } = pair;
    const { error, nonFinite, density } = await compareWeight(gpu, { original, compressed }, pair, comparable, signal);
    tensors.push({
      name,
      shape: [...pair.original.shape],
      format: formatNameOf(pair.compressed),
      original: bytesOnDisk(pair.original),
      compressed: bytesOnDisk(pair.compressed),
      onGpu: {
        original: loaded.original ? bytesOnGpu(pair.original, role) : 0,
        compressed: loaded.compressed ? bytesOnGpu(pair.compressed, role) : 0,
      },
      relativeError: error?.relative ?? null,
      squaredError: error?.squared ?? null,
      nonFinite,
      ...(density && density.zeros >= LEAST_ZEROS && { sparsity: density }),
    });
    onProgress?.(tensors.length, pairs.length);
  }
  const sum = (of: (tensor: (typeof tensors)[number], i: number) => number) =>
    tensors.reduce((total, tensor, i) => total + of(tensor, i), 0);
  const bits = (counts: (role: Role) => boolean) => {
    const weights = sum((_, i) => (counts(pairs[i]!.role) ? countOf(pairs[i]!.compressed) : 0));
    return (8 * sum(({ compressed }, i) => (counts(pairs[i]!.role) ? compressed : 0))) / Math.max(1, weights);
  };
  return {
    original: sum((t) => t.original),
    compressed: sum((t) => t.compressed),
    files: { original: original.bytes, compressed: compressed.bytes },
    onGpu: { original: sum((t) => t.onGpu.original), compressed: sum((t) => t.onGpu.compressed) },
    bitsPerWeight: {
      all: bits(() => true),
      withoutEmbeddings: bits((role) => role !== 'embedding' && role !== 'head'),
    },
    tensors,
    unpaired,
  };
}

const countOf = ({ shape }: WholeWeight): number => shape.reduce((product, n) => product * n, 1);

/** Bytes of a weight's data in its file. */
export const bytesOnDisk = (weight: WholeWeight): number =>
  storedParts(weight)
    .flatMap((stored) => (stored.kind === 'quantized' ? stored.parts : [stored.info]))
    .reduce((sum, { byteLength }) => sum + byteLength, 0);

const REAL_TYPES: readonly ElementType[] = ['F64', 'F32', 'F16', 'BF16'];

const isReal = (weight: WholeWeight): boolean => weight.kind !== 'dense' || REAL_TYPES.includes(weight.info.type);

/** Of a matrix whose zeros are worth a picture: rounding to four bits makes an eighth of weights zero. */
const LEAST_ZEROS = 0.2;

interface Comparison {
  /** Undefined where there is none to speak of. */
  readonly error?: { readonly relative: number; readonly squared: number };
  readonly nonFinite: { readonly original: number; readonly compressed: number };
  /** Of a matrix as it is compressed. */
  readonly density?: Density;
}

/** What a weight lost, and its values that are no numbers. */
async function compareWeight(
  gpu: Gpu,
  { original, compressed }: { readonly original: Checkpoint; readonly compressed: Checkpoint },
  pair: WeightPair,
  comparable: boolean,
  signal?: AbortSignal,
): Promise<Comparison> {
  const { original: a, compressed: b } = pair;
  if (original === compressed || !comparable || !sameShape(pair) || !isReal(a) || !isReal(b)) {
    const first = await countNonFinite(gpu, original, a, undefined, signal);
    if (original === compressed) return { nonFinite: { original: first, compressed: 0 } };
    const counted = densityOf(b);
    const second = await countNonFinite(gpu, compressed, b, counted, signal);
    return {
      nonFinite: { original: first, compressed: second },
      ...(counted && isReal(b) && second === 0 && { density: counted.result }),
    };
  }
  const nonFinite = { original: 0, compressed: 0 };
  let squared = 0;
  let total = 0;
  const counted = densityOf(b);
  const readers = [new WholeReader(gpu, original, a, signal), new WholeReader(gpu, compressed, b, signal)] as const;
  try {
    for (const [row, count] of chunksOf(a)) {
      const x = await readers[0].read(row, count);
      const y = await readers[1].read(row, count);
      counted?.add(row, y);
      let lost = 0;
      for (let i = 0; i < x.length; i++) {
        const exact = x[i]!;
        const difference = exact - y[i]!;
        lost += difference * difference;
        total += exact * exact;
      }
      squared += lost;
      // Squares of f32 values do not overflow f64.
      if (Number.isFinite(lost)) continue;
      nonFinite.original += nonFiniteIn(x);
      nonFinite.compressed += nonFiniteIn(y);
    }
  } finally {
    for (const reader of readers) reader.release();
  }
  if (!Number.isFinite(squared)) return { nonFinite };
  return {
    error: { squared, relative: total === 0 ? (squared === 0 ? 0 : 1) : Math.sqrt(squared / total) },
    nonFinite,
    ...(counted && { density: counted.result }),
  };
}

/** Undefined where there is no matrix to draw. */
const densityOf = ({ shape: [rows, k, ...more] }: WholeWeight): DensityCount | undefined =>
  rows && k && more.length === 0 ? new DensityCount(rows, k) : undefined;

/** Values that are no numbers; all are shown to `counted`. */
async function countNonFinite(
  gpu: Gpu,
  checkpoint: Checkpoint,
  weight: WholeWeight,
  counted: DensityCount | undefined,
  signal?: AbortSignal,
): Promise<number> {
  if (!isReal(weight)) return 0;
  const reader = new WholeReader(gpu, checkpoint, weight, signal);
  let found = 0;
  try {
    for (const [row, count] of chunksOf(weight)) {
      const values = await reader.read(row, count);
      counted?.add(row, values);
      found += nonFiniteIn(values);
    }
    return found;
  } finally {
    reader.release();
  }
}

/** First row and rows of each piece that is read at a time. A vector's rows are its elements, and a scalar is one. */
function* chunksOf({ shape }: WholeWeight): Generator<[number, number]> {
  const rows = shape[0] ?? 1;
  const step = chunkRows(4 * (shape.length < 2 ? 1 : matrixShape(shape).k));
  for (let row = 0; row < rows; row += step) yield [row, Math.min(step, rows - row)];
}

function nonFiniteIn(values: Float32Array): number {
  let found = 0;
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) found++;
  return found;
}
