import { FileError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { decodeToF32 } from '../files/convert.ts';
import { elementCount } from '../files/element-type.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { quote, reason } from '../files/text.ts';
import { type CheckWeight, factoredNode, type WeightNode } from '../files/weight-tree.ts';
import type { ArraysNode } from '../files/weight-tree-check.ts';
import { listsOf } from '../formats/block-layout.ts';
import { blocksFormat } from '../formats/blocks.ts';
import { expandScales, NESTED } from '../formats/double-quantize.ts';
import { type ElementType, type Format, type HostArrays, isSparse, valuesOf } from '../formats/format.ts';
import { arrayBytes, arrayShape, groupOf, rowMultiple, setsOf } from '../formats/layout.ts';
import { packedFormat } from '../formats/packed.ts';
import { badPlace } from '../formats/packed-layout.ts';
import { formatByName, formatNamed } from '../formats/registry.ts';
import { factorsOf } from '../graph/low-rank.ts';
import type { ActivationRange } from '../graph/reference/integer-linear.ts';

/** Bytes of a tensor that are read at a time: bounds what the host holds, whatever the size of the checkpoint. */
export const CHUNK_BYTES = 64 * 1024 * 1024;

/** Chunks start at multiples of this many rows, so that every array of every chunk starts on a whole word. */
export const CHUNK_ROWS = 8;

/** Rows of `rowBytes` bytes that make up a chunk. */
export const chunkRows = (rowBytes: number, chunkBytes: number = CHUNK_BYTES): number =>
  Math.max(1, Math.floor(chunkBytes / CHUNK_ROWS / Math.max(1, rowBytes))) * CHUNK_ROWS;

/** The dense format that stores elements of this type as they are; undefined for types without one. */
export const denseFormatOf = (type: ElementType): Format | undefined =>
  type === 'F32' || type === 'F16' || type === 'BF16' ? formatByName(type.toLowerCase()) : undefined;

/** Rows and columns of a tensor as the GPU holds it: a vector is one row. */
export function matrixShape(shape: readonly number[]): { rows: number; k: number } {
  return shape.length < 2
    ? { rows: 1, k: shape[0] ?? 1 }
    : { rows: shape[0]!, k: shape.slice(1).reduce((product, size) => product * size, 1) };
}

/** Where a weight of the original model lies in a checkpoint, compressed or not. */
export type StoredWeight =
  | { readonly kind: 'dense'; readonly info: TensorInfo; readonly shape: readonly number[] }
  | {
      readonly kind: 'quantized';
      readonly format: Format;
      readonly shape: readonly [number, number];
      /** In the order of `format.arrays`. */
      readonly parts: readonly TensorInfo[];
    };

/** A weight in any form, also one that can only be listed and copied. */
export type AnyWeight =
  | StoredWeight
  | {
      readonly kind: 'opaque';
      /** As ggml calls it. */
      readonly type: string;
      readonly shape: readonly number[];
      /** Its bytes. */
      readonly info: TensorInfo;
    };

/** For `openCheckpoint`: the parts of a quantized weight must be what its format lays out. */
export const checkWeight: CheckWeight = (node, parts) => {
  if (node.kind === 'nm') return packedProblem(node, parts);
  if (node.kind === 'block-sparse') return blocksProblem(node, parts);
  // Aliases are for people: the file holds the one name.
  const format = formatNamed(node.format);
  if (!format) return `has the format ${quote(node.format)}, which this version does not know`;
  const [rows, k] = node.shape;
  if (k % format.block !== 0) return `has rows of ${k}, which blocks of ${format.block} (${format.name}) do not divide`;
  const group = groupOf(format, k);
  if (group !== node.group) return `has groups of ${node.group}, but ${format.name} has ${group}`;
  if (format.maxRow !== undefined && k > format.maxRow) {
    return `has rows of ${k}, but ${format.name} has at most ${format.maxRow}`;
  }
  for (const array of format.arrays) {
    const part = parts.get(array.name);
    if (!part) return `lacks the part "${array.name}" of ${format.name}`;
    const wanted = arrayShape(array, rows, k);
    if (part.type !== array.type || part.shape.length !== 2 || part.shape.some((size, i) => size !== wanted[i])) {
      return `needs its part "${array.name}" as ${array.type} [${wanted}], but that is ${part.type} [${part.shape}]`;
    }
  }
  if (parts.size > format.arrays.length) {
    const names = format.arrays.map((array) => array.name).join(', ');
    return `has ${parts.size} parts, but ${format.name} has only ${names}`;
  }
  return undefined;
};

/** What is wrong with packed weights whose values are right by themselves. */
function packedProblem(
  node: Extract<WeightNode, { kind: 'nm' }>,
  parts: ReadonlyMap<string, TensorInfo>,
): string | undefined {
  const { values, shape, vector, n, m } = node;
  const type = parts.get('values')?.type;
  if (values.kind !== 'quantized' && !(values.kind === 'dense' && type && denseFormatOf(type))) {
    return `has values that are ${type ?? values.kind}, which this version does not read`;
  }
  const format = packedOf(node, type);
  if (typeof format === 'string') return format;
  const { slots, bands, words } = format.packed!.layout(...shape);
  const columns = values.kind === 'dense' ? parts.get('values')!.shape[1] : values.shape[1];
  if (columns !== slots) return `needs its values with ${slots} columns, but they have ${columns}`;
  const indices = parts.get('indices')!;
  if (indices.type === 'U32' && String(indices.shape) === String([bands, words])) return undefined;
  return `keeps ${n} of every ${m} weights, the same for ${vector} rows, so it needs its indices as U32 [${bands},${words}], but they are ${indices.type} [${indices.shape}]`;
}

/** The format of packed weights, or why there is none. */
function packedOf(
  { values, n, m, vector }: Extract<WeightNode, { kind: 'nm' }>,
  type: ElementType | undefined,
): Format | string {
  const format = values.kind === 'quantized' ? formatNamed(values.format) : type && denseFormatOf(type);
  if (!format) return 'has values in a format that this version does not know';
  try {
    return packedFormat(format, { kind: 'n:m', keep: n, of: m, rows: vector });
  } catch (error) {
    return `can't be read: ${reason(error)}`;
  }
}

/** What is wrong with blocks whose values are right by themselves. */
function blocksProblem(node: BlockNode, parts: ReadonlyMap<string, TensorInfo>): string | undefined {
  const { values } = node;
  const type = parts.get('values')?.type;
  if (values.kind !== 'quantized' && !(values.kind === 'dense' && type && denseFormatOf(type))) {
    return `has values that are ${type ?? values.kind}, which this version does not read`;
  }
  const lists = parts.get('lists')!;
  const format = blocksOf(node, lists, type);
  if (typeof format === 'string') return format;
  const { slots } = format.blocks!.layout;
  const columns = values.kind === 'dense' ? parts.get('values')!.shape[1] : values.shape[1];
  return columns === slots ? undefined : `needs its values with ${slots} columns, but they have ${columns}`;
}

type BlockNode = Extract<WeightNode, { kind: 'block-sparse' }>;

/** The format of a matrix of blocks, or why there is none. */
function blocksOf(
  { values, block, shape }: BlockNode,
  lists: TensorInfo,
  type: ElementType | undefined,
): Format | string {
  const format = values.kind === 'quantized' ? formatNamed(values.format) : type && denseFormatOf(type);
  if (!format) return 'has values in a format that this version does not know';
  const [rows, k] = shape;
  const kept = elementCount(lists.shape)! - 2 * Math.ceil(rows / block[0]) - 1;
  if (kept < 1) return 'keeps no block';
  try {
    return blocksFormat(format, { block: { rows: block[0], columns: block[1] }, rows, k, kept });
  } catch (error) {
    return `can't be read: ${reason(error)}`;
  }
}

/** How a weight is stored, also a part of one that is factored; undefined for tensors as they are. */
function nodeOf({ tree }: Checkpoint, name: string): WeightNode | undefined {
  const own = tree?.weights.get(name);
  const part = own ? undefined : /^(.+)\.(base|left|right)$/s.exec(name);
  const whole = part && tree?.weights.get(part[1]!);
  const factored = whole && factoredNode(whole);
  if (!factored) return own;
  return part![2] === 'base' ? factored.base : factored.factors[part![2] as 'left' | 'right'];
}

/** The names of a weight's parts where it is factored, those that a graph knows; else its own. */
export function partNames(name: string, node: WeightNode): string[] {
  const factored = factoredNode(node);
  if (!factored) return [name];
  const { base, left, right } = factorsOf(name);
  return [...(factored.base ? [base] : []), right, left];
}

/** The weight `name` of the checkpoint. @throws FileError where it is missing or stored in a way that is not read yet. */
export function findWeight(checkpoint: Checkpoint, name: string): StoredWeight {
  const node = nodeOf(checkpoint, name) ?? ({ kind: 'dense', data: name } satisfies WeightNode);
  if (node.kind === 'dense') {
    const info = checkpoint.tensors.get(node.data);
    const opaque = info ? undefined : checkpoint.opaque?.get(name);
    if (opaque) throw unreadable(checkpoint, name, opaque.type);
    if (!info) throw new FileError(`${checkpoint.name}: there is no weight ${quote(name)}.`);
    return { kind: 'dense', info, shape: info.shape };
  }
  if (node.kind === 'nm' || node.kind === 'block-sparse') return findSparse(checkpoint, name, node);
  if (node.kind !== 'quantized') {
    throw new FileError(
      `${checkpoint.name}: weight ${quote(name)} is stored as ${node.kind}, which this version of Compressa does not read. Update Compressa.`,
    );
  }
  const known = partsOf(checkpoint, name, node, node.parts);
  const format = formatByName(node.format);
  return {
    kind: 'quantized',
    format,
    shape: node.shape,
    parts: format.arrays.map((array) => known.get(array.name)!),
  };
}

/** The tensors of a node by the names of its parts, checked again, since the checkpoint may have been opened without. @throws FileError */
function partsOf(
  { name: file, tensors }: Checkpoint,
  name: string,
  node: ArraysNode,
  parts: Readonly<Record<string, string>>,
): Map<string, TensorInfo> {
  const known = new Map(
    Object.entries(parts).flatMap(([part, tensor]) => {
      const info = tensors.get(tensor);
      return info ? [[part, info] as const] : [];
    }),
  );
  const problem = checkWeight(node, known, name);
  if (problem !== undefined) throw new FileError(`${file}: weight ${quote(name)} ${problem}.`);
  return known;
}

/** A weight of which some of each group, or some blocks, are stored. @throws FileError */
function findSparse(
  checkpoint: Checkpoint,
  name: string,
  node: Extract<WeightNode, { kind: 'nm' | 'block-sparse' }>,
): StoredWeight {
  const { values, shape } = node;
  const data: Record<string, string> = values.kind === 'dense' ? { values: values.data } : {};
  const [places, tensor] = node.kind === 'nm' ? ['indices', node.indices] : ['lists', node.lists];
  const known = partsOf(checkpoint, name, node, { ...data, [places!]: tensor! });
  const last = known.get(places!)!;
  const type = known.get('values')?.type;
  // The check has found that there is one.
  const format = (node.kind === 'nm' ? packedOf(node, type) : blocksOf(node, last, type)) as Format;
  const stored = values.kind === 'quantized' && partsOf(checkpoint, name, values, values.parts);
  const parts = stored ? valuesOf(format).arrays.map((array) => stored.get(array.name)!) : [known.get('values')!];
  return { kind: 'quantized', format, shape, parts: [...parts, last] };
}

/** The error for a weight that can only be listed and copied. */
export const unreadable = (checkpoint: Checkpoint, name: string, type: string): FileError =>
  new FileError(
    `${checkpoint.name}: weight ${quote(name)} is stored as ${type}, which this version of Compressa can't compute with. ` +
      'Take a file of the model in one of the types that `compressa compress --help` lists.',
  );

/** Every weight that the checkpoint holds, in the order of its tensors; arrays do not count, but what one that is factored is made of. */
export function weightsInFile(checkpoint: Checkpoint): Map<string, AnyWeight> {
  const owners = new Map<string, string>();
  const compressed = new Map<string, StoredWeight>();
  const nodes = [...(checkpoint.tree?.weights ?? [])];
  const names = nodes.flatMap(([name, node]) => partNames(name, node));
  for (const name of names) {
    const weight = findWeight(checkpoint, name);
    compressed.set(name, weight);
    for (const info of weight.kind === 'dense' ? [weight.info] : weight.parts) owners.set(info.name, name);
  }
  const weights = new Map<string, AnyWeight>();
  for (const info of checkpoint.tensors.values()) {
    const owner = owners.get(info.name);
    if (owner === undefined) weights.set(info.name, { kind: 'dense', info, shape: info.shape });
    else weights.set(owner, compressed.get(owner)!);
  }
  for (const { name, type, shape, data } of checkpoint.opaque?.values() ?? []) {
    weights.set(name, { kind: 'opaque', type, shape, info: data });
  }
  return weights;
}

/** The same in the order of names. */
export const allWeightsOf = (checkpoint: Checkpoint): Map<string, AnyWeight> =>
  new Map([...weightsInFile(checkpoint)].sort(([a], [b]) => byName(a, b)));

/** Every weight of the original model, in the order of names. @throws FileError where one can't be computed with */
export function weightsOf(checkpoint: Checkpoint): Map<string, StoredWeight> {
  const weights = new Map<string, StoredWeight>();
  for (const [name, weight] of allWeightsOf(checkpoint)) {
    if (weight.kind === 'opaque') throw unreadable(checkpoint, name, weight.type);
    weights.set(name, weight);
  }
  return weights;
}

/** Layer 2 before layer 10, the same on every system. */
export const byName = new Intl.Collator('en', { numeric: true }).compare;

/**
 * The arrays of some rows of a quantized weight, exactly as the device holds them.
 * @param rowStart a multiple of `rowMultiple`
 */
export async function readArrays(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  weight: StoredWeight & { kind: 'quantized' },
  rowStart: number,
  rows: number,
  signal?: AbortSignal,
): Promise<HostArrays> {
  const arrays: HostArrays = {};
  for (const [i, array] of weight.format.arrays.entries()) {
    const { start, count } = setsOf(array, rowStart, rows, weight.shape[1]);
    const bytes = await checkpoint.read(weight.parts[i]!, start, count, signal);
    checkColumns(checkpoint, weight, i, bytes);
    const padded = new Uint8Array(arrayBytes(array, rows, weight.shape[1]));
    padded.set(bytes);
    arrays[array.name] = padded;
  }
  return arrays;
}

/** @throws FileError where slots of packed weights stand for columns outside their groups, or lists are none of blocks of the matrix. `part`: index of the array that `bytes` are of */
export function checkColumns(
  { name }: Pick<Checkpoint, 'name'>,
  { format: { packed, blocks, arrays }, parts, shape }: StoredWeight & { kind: 'quantized' },
  part: number,
  bytes: Uint8Array,
): void {
  if (part < arrays.length - 1) return;
  if (blocks) {
    try {
      listsOf(`the tensor ${quote(parts[part]!.name)}`, new Uint32Array(bytes.slice().buffer), blocks.layout);
    } catch (error) {
      throw new FileError(`${name}: ${reason(error)} Repair the file, or compress the original model again.`, {
        cause: error,
      });
    }
  }
  if (!packed) return;
  const bad = badPlace(packed.layout(...shape), new Uint32Array(bytes.slice().buffer));
  if (bad < 0) return;
  throw new FileError(
    `${name}: the tensor ${quote(parts[part]!.name)} names a column outside its group of ${packed.pattern.of}. Repair the file, or compress the original model again.`,
  );
}

/** The values of some rows of a weight as f32, dequantized by the reference. A vector's rows are its elements. */
export async function readValues(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  weight: StoredWeight,
  rowStart = 0,
  rows = (weight.shape[0] ?? 1) - rowStart,
  signal?: AbortSignal,
): Promise<Float32Array> {
  if (weight.kind === 'dense') {
    return decodeToF32(await checkpoint.read(weight.info, rowStart, rows, signal), weight.info.type);
  }
  const format = weight.format.single ?? weight.format;
  const k = weight.shape[1];
  // Rows that share something are read together.
  const band = isSparse(format) ? rowMultiple(format, k) : 1;
  const start = Math.floor(rowStart / band) * band;
  const count = Math.min(weight.shape[0], Math.ceil((rowStart + rows) / band) * band) - start;
  const values = format.reference.dequantize(await readRows(checkpoint, weight, start, count, signal), count, k);
  return count === rows ? values : values.subarray((rowStart - start) * k, (rowStart - start + rows) * k);
}

/**
 * The arrays of any rows of a quantized weight, in the format that has all of a row in the row: `single` where scales are quantized all together, else its
 * own.
 */
export async function readRows(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  weight: StoredWeight & { kind: 'quantized' },
  rowStart: number,
  rows: number,
  signal?: AbortSignal,
): Promise<HostArrays> {
  if (!weight.format.single) return readArrays(checkpoint, weight, rowStart, rows, signal);
  return {
    codes: await checkpoint.read(weight.parts[0]!, rowStart, rows, signal),
    scales: await readScales(checkpoint, weight, rowStart, rows, signal),
  };
}

/** The scales in f32 of any rows of a weight whose scales are quantized all together. */
export async function readScales(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  { format, parts, shape }: StoredWeight & { kind: 'quantized' },
  rowStart: number,
  rows: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const groups = shape[1] / format.block;
  const first = rowStart * groups;
  const block = Math.floor(first / NESTED);
  const blocks = Math.ceil((first + rows * groups) / NESTED) - block;
  const codes = await checkpoint.read(parts[1]!, rowStart, rows, signal);
  const nested = decodeToF32(await checkpoint.read(parts[2]!, block, blocks, signal), 'F32');
  return new Uint8Array(expandScales(codes, nested, first % NESTED).buffer);
}

/** How products with a weight quantize what they multiply it with; undefined where they don't. */
export async function readActivationRange(
  checkpoint: Checkpoint,
  weight: StoredWeight,
  signal?: AbortSignal,
): Promise<ActivationRange | undefined> {
  if (weight.kind !== 'quantized' || !weight.format.activations) return undefined;
  if (weight.format.activations === 'dynamic') return {};
  const { activations } = await readArrays(checkpoint, weight, 0, 1, signal);
  return { scale: new DataView(activations!.buffer).getFloat32(0, true) };
}
