import { FileError, ModelError } from '../../errors.ts';
import type { ElementType, Format, HostArrays } from '../../formats/format.ts';
import { contentBytes } from '../../formats/layout.ts';
import { formats } from '../../formats/registry.ts';
import { checkCancelled } from '../cancel.ts';
import type { Checkpoint, OpaqueWeight } from '../checkpoint.ts';
import { decodeToF32 } from '../convert.ts';
import { ELEMENT_BYTES, isElementType } from '../element-type.ts';
import { findTensor, type TensorInfo } from '../safetensors-read.ts';
import type { ByteSource } from '../source.ts';
import { type JsonObject, parseJsonObjectText } from '../strict-json.ts';
import { quote } from '../text.ts';
import { type GraphChanges, parseGraphChanges, type WeightNode, type WeightTree } from '../weight-tree.ts';
import { architectureByName } from './architectures.ts';
import { configOf } from './config-read.ts';
import { type GgmlType, ggmlTypes } from './ggml-types.ts';
import { Metadata } from './metadata.ts';
import { type GgufFile, type GgufTensor, readGguf } from './read.ts';
import { type RowOrder, readReordered, toHalfSplit } from './row-order.ts';
import { huggingFaceName, isNorm, ROPE_FACTORS, rotatedRows } from './tensor-names.ts';
import { readTokenizer, type TokenizerFiles } from './tokenizer-read.ts';

/** Formats that GGUF has a type for, with that type. */
export const ggufFormats: ReadonlyMap<Format, GgmlType> = new Map(
  formats.flatMap((format) => {
    const type = format.codecs.ggml && ggmlTypes.find(({ name }) => name === format.name);
    return type ? [[format, type] as const] : [];
  }),
);

const formatOf = new Map([...ggufFormats].map(([format, { name }]) => [name, format]));

/** Key of the metadata that holds what a weight tree calls `graph`, as JSON: other readers need not know it. */
export const GRAPH_KEY = 'compressa.graph';

/** A tensor as the checkpoint shows it: a stored one, or one array of a quantized one. */
interface View {
  readonly tensor: GgufTensor;
  readonly order?: RowOrder;
  /** Taken from every value, which becomes f32: see `GgufArchitecture.normOffset`. */
  readonly offset?: number;
  /** Which array of which format; without it the bytes are taken as they are. */
  readonly part?: { readonly format: Format; readonly index: number };
}

/**
 * Opens a GGUF file as if it were a folder of Hugging Face: tensors under their names there, rows of queries and keys in their
 * order there, blocks of ggml taken apart into the arrays of our formats, config.json and the tokenizer's files made from the
 * metadata. Models of an unknown architecture keep GGUF's names and have no config. The result owns `source`, also where it throws.
 * @throws FileError, ModelError, CancelledError
 */
export async function openGguf(source: ByteSource, signal?: AbortSignal): Promise<Checkpoint> {
  try {
    const file = await readGguf(source, signal);
    const { config, problem } = await readConfig(file, signal);
    return new GgufCheckpoint(file, config, problem);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The config, or why there is none. */
async function readConfig(file: GgufFile, signal?: AbortSignal): Promise<{ config?: JsonObject; problem?: string }> {
  const metadata = new Metadata(file);
  const parts = metadata.number('split.count') ?? 1;
  if (parts > 1) {
    throw new FileError(
      `${file.name}: it is one of ${parts} files of a model. Merge them first (llama-gguf-split --merge).`,
    );
  }
  const name = metadata.string('general.architecture');
  const architecture = architectureByName(name ?? '');
  if (!architecture) {
    return { problem: `${file.name}: models of the architecture ${quote(name ?? 'unknown')} can't be run.` };
  }
  try {
    return { config: await configOf(file, architecture, signal) };
  } catch (error) {
    checkCancelled(signal);
    // Its tensors can be looked at all the same.
    if (error instanceof ModelError) return { problem: error.message };
    throw error;
  }
}

class GgufCheckpoint implements Checkpoint {
  readonly name: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly opaque: ReadonlyMap<string, OpaqueWeight>;
  /** What Transformers wants to see in a safetensors file made from this one. */
  readonly metadata = { format: 'pt' };
  readonly tree: WeightTree | undefined;
  readonly config: JsonObject | undefined;
  readonly configProblem?: string;
  readonly gguf: GgufFile;
  readonly #views: ReadonlyMap<string, View>;
  #tokenizer: Promise<TokenizerFiles | { readonly problem: string }> | undefined;
  /** The rows that were taken apart last: their arrays are asked for one after the other. */
  #decoded: { readonly key: string; readonly arrays: Promise<HostArrays> } | undefined;

  constructor(file: GgufFile, config: JsonObject | undefined, problem: string | undefined) {
    const layout = layOut(file, config);
    this.name = file.name;
    this.bytes = file.bytes;
    this.gguf = file;
    this.config = config;
    if (problem !== undefined) this.configProblem = problem;
    this.tensors = layout.tensors;
    this.opaque = layout.opaque;
    this.#views = layout.views;
    const graph = readGraphChanges(file);
    this.tree = treeOf(layout.weights, graph);
  }

  async read(
    tensor: string | TensorInfo,
    rowStart = 0,
    rowCount?: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const raw = typeof tensor === 'string' ? undefined : this.opaque.get(tensor.name)?.data;
    const info = raw ?? findTensor(this.name, this.tensors, tensor);
    const view = this.#views.get(info.name)!;
    const rows = rowCount ?? (info.shape[0] ?? 1) - rowStart;
    if (!view.part) {
      const bytes = await this.#rows(view, rowStart, rows, signal);
      return view.offset === undefined ? bytes : withoutOffset(bytes, view.tensor, view.offset);
    }
    const { format, index } = view.part;
    const array = format.arrays[index]!;
    const k = view.tensor.shape.at(-1)!;
    const arrays = await this.#arrays(view, format, rowStart, rows, signal);
    return arrays[array.name]!.slice(0, contentBytes(array, rows, k));
  }

  async fileBytes(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const json = async () => {
      if (name === 'config.json') return this.config;
      if (name !== 'tokenizer.json' && name !== 'tokenizer_config.json') return undefined;
      this.#tokenizer ??= readTokenizer(this.gguf);
      const files = await this.#tokenizer;
      if ('problem' in files) return undefined;
      return name === 'tokenizer.json' ? files.tokenizer : files.config;
    };
    const value = await json();
    return value && new TextEncoder().encode(JSON.stringify(value, undefined, 1));
  }

  close(): Promise<void> {
    return this.gguf.close();
  }

  #rows({ tensor, order }: View, rowStart: number, rows: number, signal?: AbortSignal) {
    // What the checkpoint calls a row has all dimensions but the first.
    const inner = tensor.shape.slice(1, -1).reduce((product, size) => product * size, 1);
    const read = (start: number, count: number) => this.gguf.rows(tensor, start * inner, count * inner, signal);
    return order ? readReordered(read, order, rowStart, rows) : read(rowStart, rows);
  }

  #arrays(view: View, format: Format, rowStart: number, rows: number, signal?: AbortSignal): Promise<HostArrays> {
    const key = JSON.stringify([view.tensor.name, rowStart, rows]);
    if (this.#decoded?.key !== key) {
      const arrays = this.#rows(view, rowStart, rows, signal).then((bytes) =>
        format.codecs.ggml!.decode(bytes, rows, view.tensor.shape.at(-1)!),
      );
      const decoded = { key, arrays };
      this.#decoded = decoded;
      // A read that failed or was cancelled is tried again.
      arrays.catch(() => {
        if (this.#decoded === decoded) this.#decoded = undefined;
      });
    }
    return this.#decoded!.arrays;
  }
}

/** @throws FileError */
function readGraphChanges(file: GgufFile): GraphChanges | undefined {
  const json = new Metadata(file).string(GRAPH_KEY);
  if (json === undefined) return undefined;
  const where = `${file.name}: ${GRAPH_KEY}`;
  return parseGraphChanges(parseJsonObjectText(json, where, { refusePrototypeKeys: true }), where);
}

const treeOf = (weights: Map<string, WeightNode>, graph: GraphChanges | undefined): WeightTree | undefined =>
  weights.size > 0 || graph ? { version: 1, weights, ...(graph && { graph }) } : undefined;

/** The values of a dense tensor less an offset, as f32. */
function withoutOffset(bytes: Uint8Array, { type }: GgufTensor, offset: number): Uint8Array<ArrayBuffer> {
  const values = decodeToF32(bytes, type.name.toUpperCase() as ElementType);
  return new Uint8Array(values.map((x) => x - offset).buffer);
}

interface Layout {
  readonly tensors: Map<string, TensorInfo>;
  readonly opaque: Map<string, OpaqueWeight>;
  readonly weights: Map<string, WeightNode>;
  readonly views: Map<string, View>;
}

/** What each tensor of the file is in the checkpoint. */
function layOut(file: GgufFile, config: JsonObject | undefined): Layout {
  const layout: Layout = { tensors: new Map(), opaque: new Map(), weights: new Map(), views: new Map() };
  const add = (info: TensorInfo, view: View): TensorInfo => {
    if (layout.views.has(info.name) || layout.opaque.has(info.name) || layout.weights.has(info.name)) {
      throw new FileError(
        `${file.name}: tensor ${quote(view.tensor.name)} (offset ${view.tensor.offset}) would be the second one called ${quote(info.name)}. Rename it.`,
      );
    }
    layout.views.set(info.name, view);
    return info;
  };
  const architecture = config && architectureByName(String(file.scalars.get('general.architecture')?.value));
  for (const tensor of file.tensors.values()) {
    // The config says it.
    if (config && tensor.name === ROPE_FACTORS) continue;
    const name = (architecture && huggingFaceName(tensor.name, architecture.postNorms)) ?? tensor.name;
    const order = architecture?.interleaved ? orderOf(file, tensor, name, config!) : undefined;
    const offset = architecture && isNorm(name) ? architecture.normOffset : 0;
    addTensor(layout, { tensor, ...(order && { order }), ...(offset !== 0 && { offset }) }, name, add);
  }
  return layout;
}

function addTensor(layout: Layout, view: View, name: string, add: (info: TensorInfo, view: View) => TensorInfo): void {
  const { type, shape, offset, byteLength } = view.tensor;
  const element = type.name.toUpperCase();
  if (isElementType(element)) {
    const shown =
      view.offset === undefined
        ? { type: element, byteLength }
        : { type: 'F32' as const, byteLength: (byteLength / ELEMENT_BYTES[element]) * ELEMENT_BYTES.F32 };
    layout.tensors.set(name, add({ name, shape, offset, ...shown }, view));
    return;
  }
  const format = formatOf.get(type.name);
  if (!format || shape.length !== 2) {
    const rows = shape.length === 1 ? 1 : shape[0]!;
    const data: TensorInfo = { name, type: 'U8', shape: [rows, byteLength / rows], offset, byteLength };
    layout.opaque.set(name, { name, type: type.name, shape, data });
    layout.views.set(name, view);
    return;
  }
  const [rows, k] = shape as readonly [number, number];
  const parts: Record<string, string> = {};
  for (const [index, array] of format.arrays.entries()) {
    const part = `${name}.${array.name}`;
    const bytes = contentBytes(array, rows, k);
    const info = {
      name: part,
      type: array.type,
      shape: [rows, bytes / rows / ELEMENT_BYTES[array.type as ElementType]],
      offset,
      byteLength: bytes,
    };
    layout.tensors.set(part, add(info, { ...view, part: { format, index } }));
    parts[array.name] = part;
  }
  layout.weights.set(name, { kind: 'quantized', format: format.name, group: format.block, shape: [rows, k], parts });
}

/** The order in which Hugging Face has the rows of queries and keys, where llama.cpp has another. */
function orderOf(file: GgufFile, tensor: GgufTensor, name: string, config: JsonObject): RowOrder | undefined {
  const kind = rotatedRows(name);
  if (kind === undefined) return undefined;
  const headDim = config.head_dim as number;
  const heads = config[kind === 'queries' ? 'num_attention_heads' : 'num_key_value_heads'] as number;
  const rows = tensor.shape[0]!;
  if (rows !== heads * headDim) {
    throw new FileError(
      `${file.name}: tensor ${quote(tensor.name)} at offset ${tensor.offset} has ${rows} rows, but the metadata says ${heads} heads of ${headDim}.`,
    );
  }
  return toHalfSplit(headDim);
}
