import { ArgumentError, CancelledError } from '../../errors.ts';
import { decodeToF32 } from '../../files/convert.ts';
import { readSafetensors, type SafetensorsFile, type TensorInfo } from '../../files/safetensors-read.ts';
import { type TensorSpec, writeSafetensors } from '../../files/safetensors-write.ts';
import type { ByteSink } from '../../files/sink.ts';
import type { ByteSource } from '../../files/source.ts';
import type { TensorWriter } from '../../files/tensor-writer.ts';
import { quote } from '../../files/text.ts';
import { WEIGHT_TREE_KEY } from '../../files/weight-tree.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { allocateWeight, READ_BACK_BYTES } from '../../kernels/weight.ts';
import { uploadRows } from './dense-rows.ts';
import { checkRandomizedSvd, type RandomizedSvdOptions, svd } from './svd.ts';

/** How the matrices of a file are factored. */
export interface FactorFileOptions extends Pick<RandomizedSvdOptions, 'oversampling' | 'powerIterations' | 'seed'> {
  readonly gpu: Gpu;
  /** Singular values to keep of each matrix. */
  readonly rank: number;
  readonly signal?: AbortSignal;
  /** Called as weights are done. */
  readonly onProgress?: (done: number, total: number, tensor: string) => void;
}

/** What was made of a matrix. */
export interface FactoredTensor {
  readonly name: string;
  readonly shape: readonly [number, number];
  /** Largest first. */
  readonly singularValues: Float32Array;
}

/** Types whose matrices are factored; all else is copied. */
const FLOATS = new Set(['F64', 'F32', 'F16', 'BF16']);
/** Bytes that are read at a time. */
const CHUNK_BYTES = 64 * 1024 * 1024;

/**
 * Factors every matrix of floats in a safetensors file: `<name>.U` [rows, rank], `<name>.S` [rank] and `<name>.V` [columns, rank] in F32, A ≈ U diag(S) Vᵀ.
 * Other tensors are copied. One matrix is in memory at a time, on the GPU; the source is closed, and the sink aborted where something fails.
 * @throws ArgumentError for a rank that a matrix does not have, or a matrix without elements; NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorFile(
  source: ByteSource,
  sink: ByteSink,
  options: FactorFileOptions,
): Promise<FactoredTensor[]> {
  const { gpu, rank, signal, onProgress } = options;
  try {
    const file = await readSafetensors(source, signal);
    try {
      const tensors = [...file.tensors.values()];
      for (const info of tensors.filter(isMatrix)) checkMatrix(file.name, info, options);
      if (!tensors.some(isMatrix)) throw new ArgumentError(`${file.name}: there is no matrix of floats to factor.`);
      const specs = tensors.flatMap((info) => (isMatrix(info) ? factorSpecs(info, rank) : [info]));
      // A weight tree would speak of matrices that are no longer there.
      const { [WEIGHT_TREE_KEY]: _, ...metadata } = file.metadata;
      const writer = await writeSafetensors(sink, specs, metadata);
      const total = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
      let done = 0;
      const factored: FactoredTensor[] = [];
      for (const info of tensors) {
        onProgress?.(done, total, info.name);
        if (isMatrix(info)) factored.push(await factorTensor(gpu, file, info, writer, options));
        else await copyTensor(file, info, writer, signal);
        done += info.byteLength;
      }
      await writer.finish();
      onProgress?.(total, total, '');
      return factored;
    } finally {
      await file.close();
    }
  } catch (error) {
    await sink.abort();
    if (!signal?.aborted && !(error instanceof CancelledError)) throw error;
    throw new CancelledError('The factorization', 'nothing was written');
  }
}

const isMatrix = ({ type, shape }: TensorInfo): boolean => FLOATS.has(type) && shape.length === 2;

function checkMatrix(file: string, { name, shape }: TensorInfo, options: FactorFileOptions): void {
  const what = `${file}: tensor ${quote(name)} [${shape}]`;
  if (shape.includes(0)) throw new ArgumentError(`${what} has no elements, and can't be factored.`);
  checkRandomizedSvd({ ...options, name: what }, Math.min(...shape));
}

const factorSpecs = ({ name, shape: [rows, columns] }: TensorInfo, rank: number): TensorSpec[] => [
  { name: `${name}.U`, type: 'F32', shape: [rows!, rank] },
  { name: `${name}.S`, type: 'F32', shape: [rank] },
  { name: `${name}.V`, type: 'F32', shape: [columns!, rank] },
];

/** Calls `use` with the bytes of a few rows at a time. */
async function eachRows(
  file: SafetensorsFile,
  info: TensorInfo,
  signal: AbortSignal | undefined,
  use: (bytes: Uint8Array<ArrayBuffer>, rowStart: number) => void | Promise<void>,
): Promise<void> {
  const rows = info.shape[0] ?? 1;
  // Eight: types below a byte have whole bytes then.
  const most = 8 * Math.max(1, Math.floor(CHUNK_BYTES / (info.byteLength / rows) / 8));
  for (let start = 0; start < rows && info.byteLength > 0; start += most) {
    await use(await file.read(info, start, Math.min(most, rows - start), signal), start);
  }
}

const copyTensor = (file: SafetensorsFile, info: TensorInfo, writer: TensorWriter, signal?: AbortSignal) =>
  eachRows(file, info, signal, (bytes) => writer.write(info.name, bytes));

async function factorTensor(
  gpu: Gpu,
  file: SafetensorsFile,
  info: TensorInfo,
  writer: TensorWriter,
  { rank, oversampling, powerIterations, seed, signal }: FactorFileOptions,
): Promise<FactoredTensor> {
  const [rows, columns] = info.shape as [number, number];
  const name = `${file.name}: tensor ${quote(info.name)}`;
  const weight = allocateWeight(gpu, formatByName('f32'), rows, columns, info.name);
  try {
    await eachRows(file, info, signal, (bytes, start) => uploadRows(gpu, weight, decodeToF32(bytes, info.type), start));
    const found = await svd(gpu, weight, {
      ...{ rank, name },
      ...(oversampling !== undefined && { oversampling }),
      ...(powerIterations !== undefined && { powerIterations }),
      ...(seed !== undefined && { seed }),
      ...(signal && { signal }),
    });
    try {
      const { singularValues } = found;
      await writeBuffer(gpu, writer, `${info.name}.U`, found.u, 4 * rows * rank);
      await writer.write(`${info.name}.S`, new Uint8Array(singularValues.buffer));
      await writeBuffer(gpu, writer, `${info.name}.V`, found.v, 4 * columns * rank);
      return { name: info.name, shape: [rows, columns], singularValues };
    } finally {
      found.release();
    }
  } finally {
    weight.release();
  }
}

async function writeBuffer(gpu: Gpu, writer: TensorWriter, name: string, view: BufferView, bytes: number) {
  for (let at = 0; at < bytes; at += READ_BACK_BYTES) {
    await writer.write(name, await gpu.readBack(view.buffer, at, Math.min(READ_BACK_BYTES, bytes - at)));
  }
}
