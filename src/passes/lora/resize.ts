import { ArgumentError, CancelledError, FileError } from '../../errors.ts';
import { decodeToF32 } from '../../files/convert.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import { readSafetensors, type SafetensorsFile, type TensorInfo } from '../../files/safetensors-read.ts';
import type { OutputFolder } from '../../files/sink.ts';
import { parseJsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { CHUNK_BYTES } from '../stored-weight.ts';
import { adapterWriter } from './adapter-writer.ts';
import {
  ADAPTER_CONFIG,
  ADAPTER_WEIGHTS,
  type AdapterConfig,
  adapterTensor,
  elementTypeOf,
  encodeFactor,
  type FactorType,
  parseAdapterConfig,
  rankEntries,
  scalingOf,
} from './peft.ts';
import { factorProduct } from './product-svd.ts';

/** What becomes of an adapter. */
export interface ResizeAdapterOptions {
  readonly gpu: Gpu;
  /** Of each module, or the one it has where that is less. */
  readonly rank: number;
  /** Default: that of the adapter's own factors. */
  readonly type?: FactorType;
  readonly signal?: AbortSignal;
  /** Called as modules are done. */
  readonly onProgress?: (done: number, total: number, module: string) => void;
}

/** What became of a module. */
export interface ResizedModule {
  readonly module: string;
  readonly before: number;
  readonly rank: number;
  /** ‖BA − B'A'‖ / ‖BA‖ (Frobenius), but for the rounding of the factors. */
  readonly error: number;
}

/** A config is some hundred bytes, or with a pattern for each module some hundred kilobytes. */
const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

/**
 * An adapter of PEFT of lower rank: of each module the truncated SVD of B A, from QR factorizations of both factors and an SVD of the size of their rank; the product itself is
 * never formed. α becomes the rank, its old factor goes into B' and A'. Tensors that are no factors are copied. One module is in memory at a time. The output is aborted where something fails.
 * @throws ArgumentError for a rank below 1, or above that of every module; FileError, ModelError for files that are no adapter of LoRA; NonFiniteError, CancelledError,
 * OutOfMemoryError, DeviceLostError
 */
export async function resizeAdapter(
  adapter: ModelFiles,
  output: OutputFolder,
  options: ResizeAdapterOptions,
): Promise<ResizedModule[]> {
  const { signal } = options;
  let file: SafetensorsFile | undefined;
  try {
    const config = await readConfig(adapter, signal);
    file = await openWeights(adapter, signal);
    return await resize(file, config, output, options);
  } catch (error) {
    await output.abort();
    if (!signal?.aborted && !(error instanceof CancelledError)) throw error;
    throw new CancelledError('Resizing the adapter', 'nothing was written');
  } finally {
    await file?.close();
  }
}

async function readConfig(adapter: ModelFiles, signal?: AbortSignal): Promise<AdapterConfig> {
  const source = await adapter.open(ADAPTER_CONFIG);
  try {
    if (source.size > MAX_CONFIG_BYTES) {
      throw new FileError(`${source.name}: ${source.size} bytes are too many; at most ${MAX_CONFIG_BYTES} are read.`);
    }
    const bytes = await source.read(0, source.size, signal);
    return parseAdapterConfig(parseJsonObject(bytes, source.name, { refusePrototypeKeys: true }), source.name);
  } finally {
    await source.close();
  }
}

async function openWeights(adapter: ModelFiles, signal?: AbortSignal): Promise<SafetensorsFile> {
  const source = await adapter.open(ADAPTER_WEIGHTS);
  try {
    return await readSafetensors(source, signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

interface Module {
  readonly module: string;
  /** [rank, …in] */
  readonly a: TensorInfo;
  /** [out, rank, …ones] */
  readonly b: TensorInfo;
  readonly before: number;
  readonly rank: number;
}

async function resize(
  file: SafetensorsFile,
  config: AdapterConfig,
  output: OutputFolder,
  { gpu, rank, type, signal, onProgress }: ResizeAdapterOptions,
): Promise<ResizedModule[]> {
  const modules = modulesOf(file, rank);
  const factors = new Map(modules.flatMap((module) => [[module.a.name, module] as const, [module.b.name, module]]));
  const others = [...file.tensors.values()].filter(({ name }) => !factors.has(name));
  const typeOf = ({ type: own }: TensorInfo): FactorType =>
    type ?? (own === 'F16' || own === 'BF16' ? (own.toLowerCase() as FactorType) : 'f32');
  const writer = await adapterWriter(output, [
    ...modules.flatMap(({ a, b, rank: own }) => [
      { name: a.name, type: elementTypeOf(typeOf(a)), shape: [own, ...a.shape.slice(1)] },
      { name: b.name, type: elementTypeOf(typeOf(b)), shape: [b.shape[0]!, own, ...b.shape.slice(2)] },
    ]),
    ...others,
  ]);
  const resized: ResizedModule[] = [];
  for (const { module, a, b, before, rank: own } of modules) {
    onProgress?.(resized.length, modules.length, module);
    const read = async (info: TensorInfo) => decodeToF32(await file.read(info, 0, undefined, signal), info.type);
    const product = { b: await read(b), a: await read(a), scaling: scalingOf(config, module, before), rank: before };
    const made = await factorProduct(gpu, product, own, {
      name: `${file.name}: the product of module ${quote(module)}`,
      ...(signal && { signal }),
    });
    await writer.write(a.name, encodeFactor(made.a, typeOf(a), a.name));
    await writer.write(b.name, encodeFactor(made.b, typeOf(b), b.name));
    resized.push({ module, before, rank: own, error: made.error });
  }
  for (const info of others) {
    const rows = info.shape[0] ?? 1;
    // Eight: types below a byte have whole bytes then.
    const most = 8 * Math.max(1, Math.floor(CHUNK_BYTES / Math.max(1, info.byteLength / rows) / 8));
    for (let start = 0; start < rows && info.byteLength > 0; start += most) {
      await writer.write(info.name, await file.read(info, start, Math.min(most, rows - start), signal));
    }
  }
  await writer.finish({ ...(config as object), ...rankEntries(rank, modules) });
  onProgress?.(modules.length, modules.length, '');
  return resized;
}

const FLOATS = /^(F64|F32|F16|BF16)$/;

/** @throws FileError where a factor lacks the other or does not fit it, ArgumentError for a rank that no module has */
function modulesOf(file: SafetensorsFile, rank: number): Module[] {
  const pairs = new Map<string, { a?: TensorInfo; b?: TensorInfo }>();
  for (const info of file.tensors.values()) {
    const found = adapterTensor(info.name);
    if (!found) continue;
    const pair = pairs.get(found.module) ?? {};
    if (pair[found.factor])
      throw new FileError(`${file.name}: module ${quote(found.module)} has two factors ${found.factor.toUpperCase()}.`);
    pair[found.factor] = info;
    pairs.set(found.module, pair);
  }
  if (pairs.size === 0) {
    throw new FileError(
      `${file.name}: there is no factor of LoRA, such as "base_model.model.<module>.lora_A.weight". Name an adapter as PEFT saves it.`,
    );
  }
  const modules = [...pairs].map(([module, { a, b }]) => {
    const what = `${file.name}: module ${quote(module)}`;
    if (!a || !b) throw new FileError(`${what} lacks its factor ${a ? 'B' : 'A'}. Save the adapter again.`);
    const before = a.shape[0]!;
    const ones = b.shape.slice(2).every((size) => size === 1);
    const fit = a.shape.length >= 2 && b.shape.length >= 2 && b.shape[1] === before && ones;
    if (!fit || [...a.shape, ...b.shape].includes(0) || !FLOATS.test(a.type) || !FLOATS.test(b.type)) {
      throw new FileError(
        `${what} has the factors [${a.shape}] of ${a.type} and [${b.shape}] of ${b.type}, which make no product of floats. Save the adapter again.`,
      );
    }
    // A product has no more than its smaller side.
    const inputs = a.shape.slice(1).reduce((product, size) => product * size, 1);
    return { module, a, b, before, rank: Math.min(rank, before, inputs, b.shape[0]!) };
  });
  const most = Math.max(...modules.map(({ before }) => before));
  if (!Number.isInteger(rank) || rank < 1 || rank > most) {
    throw new ArgumentError(`The rank is ${rank}: give a whole number from 1 to ${most}, the largest of ${file.name}.`);
  }
  return modules;
}
