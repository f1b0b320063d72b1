import * as v from 'valibot';
import { FileError } from '../errors.ts';
import { checkFileName } from './file-name.ts';
import { openGguf } from './gguf/checkpoint.ts';
import type { GgufFile } from './gguf/read.ts';
import { isGguf } from './gguf/scan.ts';
import type { ModelFiles } from './model-files.ts';
import {
  findTensor,
  type ReadTensor,
  readSafetensors,
  type SafetensorsFile,
  type TensorInfo,
} from './safetensors-read.ts';
import type { ByteSource } from './source.ts';
import { type JsonObject, parseJsonObject } from './strict-json.ts';
import { isWellFormed, quote } from './text.ts';
import { type CheckWeight, parseWeightTree, WEIGHT_TREE_KEY, type WeightTree } from './weight-tree.ts';

/** Bytes of a config, tokenizer or index file, read whole: real ones stay below 40 MB. */
export const MAX_SIDE_FILE_BYTES = 256 * 1024 * 1024;
/** Shards of a model: the largest published ones have under 300, and each is an open file. */
export const MAX_SHARDS = 1024;

/** Characters that a terminal acts on, or that show another name than the one that is there. */
const HIDDEN = /[\u0080-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/;

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/** A weight in a form that this version can list, size and copy, but not compute with. */
export interface OpaqueWeight {
  readonly name: string;
  /** As ggml calls it: `q4_k`, say. */
  readonly type: string;
  /** Of the matrix that it stands for. */
  readonly shape: readonly number[];
  /** For `Checkpoint.read`: its bytes as they are, row by row. */
  readonly data: TensorInfo;
}

/** An open checkpoint: checked, its data still where it is. */
export interface Checkpoint {
  readonly name: string;
  /** Of its weight files, headers included. */
  readonly bytes: number;
  /** Every tensor of every file, by name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** As `SafetensorsFile.read`. */
  readonly read: ReadTensor;
  /** `__metadata__`; of the first file where there are several. */
  readonly metadata: Readonly<Record<string, string>>;
  /** How compressed weights are stored; undefined for files that Compressa did not write. */
  readonly tree: WeightTree | undefined;
  /** Weights whose form no format of ours reads: only GGUF files have such. They are not among `tensors`. */
  readonly opaque?: ReadonlyMap<string, OpaqueWeight>;
  /** `config.json`, or what a GGUF file says in its place; undefined without one. */
  readonly config: JsonObject | undefined;
  /** Why a GGUF file gives no config. */
  readonly configProblem?: string;
  /** The file itself, where it is a GGUF file. */
  readonly gguf?: GgufFile;
  /** A file beside the weights, such as `tokenizer.json`; undefined where there is none. */
  fileBytes(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Closes its files. */
  close(): Promise<void>;
}

/** How to open a checkpoint. */
export interface CheckpointOptions {
  readonly signal?: AbortSignal;
  /** Passed to `parseWeightTree`. */
  readonly checkWeight?: CheckWeight;
}

/**
 * Opens a Hugging Face folder (`model.safetensors`, or shards with their index), a single safetensors file or a GGUF file, and
 * checks everything but the data. The result owns a `ByteSource` that it is given, also where it throws.
 * @throws FileError that names the file and the cause.
 */
export async function openCheckpoint(
  input: ModelFiles | ByteSource,
  options: CheckpointOptions = {},
): Promise<Checkpoint> {
  if ('read' in input && (await startsAsGguf(input, options.signal))) return openGguf(input, options.signal);
  const folder = 'read' in input ? undefined : input;
  const opened: SafetensorsFile[] = [];
  const close = async (): Promise<void> => {
    for (const file of opened.splice(0)) await file.close();
  };
  const add = async (source: ByteSource): Promise<SafetensorsFile> => {
    try {
      const file = await readSafetensors(source, options.signal);
      opened.push(file);
      return file;
    } catch (error) {
      await source.close();
      throw error;
    }
  };
  try {
    const owners = 'read' in input ? ownersOf(await add(input)) : await openFolder(input, add, options.signal);
    const tensors = new Map([...owners].map(([name, file]) => [name, file.tensors.get(name)!]));
    return {
      name: input.name,
      bytes: opened.reduce((sum, { bytes }) => sum + bytes, 0),
      tensors,
      read: async (tensor, ...rest) => {
        const info = findTensor(input.name, tensors, tensor);
        return owners.get(info.name)!.read(info, ...rest);
      },
      metadata: opened[0]!.metadata,
      tree: findTree(input.name, opened, tensors, options.checkWeight),
      config: folder && (await readJson(folder, 'config.json', options.signal)),
      fileBytes: async (name) => folder && sideFile(folder, name),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws as `ByteSource.read`, with the source closed */
async function startsAsGguf(source: ByteSource, signal?: AbortSignal): Promise<boolean> {
  try {
    return await isGguf(source, signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

type AddFile = (source: ByteSource) => Promise<SafetensorsFile>;

const ownersOf = (file: SafetensorsFile): Map<string, SafetensorsFile> =>
  new Map([...file.tensors.keys()].map((name) => [name, file]));

/** Opens the weights of a folder: which file holds each tensor. */
async function openFolder(
  folder: ModelFiles,
  add: AddFile,
  signal?: AbortSignal,
): Promise<Map<string, SafetensorsFile>> {
  if (await folder.has(SINGLE)) return ownersOf(await add(await folder.open(SINGLE)));
  const index = await readJson(folder, INDEX, signal);
  if (index === undefined) {
    throw new FileError(
      `${folder.name}: there is neither ${SINGLE} nor ${INDEX}. Name a Hugging Face folder with safetensors weights, or a .safetensors or .gguf file.`,
    );
  }
  const where = `${folder.name}/${INDEX}`;
  const shards = shardsOf(index, where, folder.name);
  const owners = new Map<string, SafetensorsFile>();
  for (const [shard, names] of shards) {
    const file = await add(await openShard(folder, shard, where));
    for (const name of names) {
      if (!file.tensors.has(name)) {
        throw new FileError(
          `${file.name}: the index ${where} puts tensor ${quote(name)} here, but the file lacks it. Download both again.`,
        );
      }
      owners.set(name, file);
    }
    if (names.length !== file.tensors.size) {
      const listed = new Set(names);
      const extra = [...file.tensors.keys()].find((name) => !listed.has(name))!;
      throw new FileError(
        `${file.name}: it holds tensor ${quote(extra)}, which the index ${where} does not put here. Download both again.`,
      );
    }
  }
  return owners;
}

/** @throws FileError that says who wants the file */
async function openShard(folder: ModelFiles, shard: string, index: string): Promise<ByteSource> {
  try {
    return await folder.open(shard);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new FileError(`${error.message} The index ${index} names it. Download all of its files.`, { cause: error });
  }
}

const IndexSchema = v.looseObject({ weight_map: v.record(v.string(), v.string()) });

/** The tensors of each shard, by the index. */
function shardsOf(index: JsonObject, where: string, folder: string): Map<string, string[]> {
  const shards = new Map<string, string[]>();
  if (Array.isArray(index.weight_map) || !v.is(IndexSchema, index)) {
    throw new FileError(`${where}: it has no "weight_map" of tensor names to file names. Download it again.`);
  }
  for (const [name, shard] of Object.entries(index.weight_map as Record<string, string>)) {
    checkFileName(shard, folder);
    // It is shown as the name of a file, as it stands.
    if (HIDDEN.test(shard) || !isWellFormed(shard))
      throw new FileError(`${where}: the file name ${quote(shard)} can't be shown. Rename the file.`);
    if (!shard.endsWith('.safetensors')) {
      throw new FileError(
        `${where}: it puts tensor ${quote(name)} into ${quote(shard)}, which is no .safetensors file. Convert the model first.`,
      );
    }
    const names = shards.get(shard);
    if (names) names.push(name);
    else shards.set(shard, [name]);
  }
  if (shards.size === 0 || shards.size > MAX_SHARDS) {
    throw new FileError(
      `${where}: it names ${shards.size} files; between 1 and ${MAX_SHARDS} are read. Download it again.`,
    );
  }
  return shards;
}

function findTree(
  name: string,
  files: readonly SafetensorsFile[],
  tensors: ReadonlyMap<string, TensorInfo>,
  check?: CheckWeight,
): WeightTree | undefined {
  const holders = files.filter((file) => file.metadata[WEIGHT_TREE_KEY] !== undefined);
  if (holders.length > 1) {
    throw new FileError(
      `${name}: ${holders.map((file) => file.name).join(' and ')} both hold a weight tree. Keep one.`,
    );
  }
  const holder = holders[0];
  return holder && parseWeightTree(holder.metadata[WEIGHT_TREE_KEY]!, { name: holder.name, tensors }, check);
}

async function readJson(folder: ModelFiles, file: string, signal?: AbortSignal): Promise<JsonObject | undefined> {
  const bytes = await sideFile(folder, file, signal);
  return bytes && parseJsonObject(bytes, `${folder.name}/${file}`, { refusePrototypeKeys: true });
}

async function sideFile(
  folder: ModelFiles,
  file: string,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (!(await folder.has(file))) return undefined;
  const source = await folder.open(file);
  try {
    if (source.size > MAX_SIDE_FILE_BYTES) {
      throw new FileError(
        `${source.name}: ${source.size} bytes are too many; at most ${MAX_SIDE_FILE_BYTES} are read. Download it again.`,
      );
    }
    return await source.read(0, source.size, signal);
  } finally {
    await source.close();
  }
}
