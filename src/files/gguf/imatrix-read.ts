import { FileError } from '../../errors.ts';
import { checkCancelled } from '../cancel.ts';
import type { ByteSource } from '../source.ts';
import { quote } from '../text.ts';
import {
  CHUNK_COUNT_KEY,
  CHUNK_SIZE_KEY,
  COUNTS_SUFFIX,
  DATASETS_KEY,
  IMATRIX_TYPE,
  type Imatrix,
  type ImatrixTarget,
  SUMS_SUFFIX,
} from './imatrix.ts';
import { readLegacyImatrix } from './imatrix-legacy.ts';
import { ImatrixMeans } from './imatrix-means.ts';
import { type GgufFile, type GgufTensor, readGguf } from './read.ts';
import { isGguf } from './scan.ts';

/**
 * Reads an importance matrix of llama.cpp, a GGUF file or one of the older form (`.dat`), for the matrices of a model. A matrix of which
 * no input was seen has an importance of 1 in all columns, as llama.cpp takes it. The source stays open.
 * @throws FileError for a damaged file, and for statistics of another model: of matrices or columns that this one does not have, or
 * without those of one of its linear matrices
 */
export async function readImatrix(
  source: ByteSource,
  targets: readonly ImatrixTarget[],
  signal?: AbortSignal,
): Promise<Imatrix> {
  const means = new ImatrixMeans(source.name, targets);
  if (!(await isGguf(source, signal))) return readLegacyImatrix(source, means, signal);
  const file = await readGguf(source, signal);
  const type = file.scalars.get('general.type')?.value;
  if (type !== IMATRIX_TYPE) {
    throw new FileError(
      `${source.name}: its general.type is ${quote(String(type ?? 'missing'))}, not "${IMATRIX_TYPE}": this is no importance matrix.`,
    );
  }
  for (const [name, sums] of file.tensors) {
    checkCancelled(signal, 'Reading the importance matrix');
    if (!name.endsWith(SUMS_SUFFIX)) continue;
    const matrix = name.slice(0, -SUMS_SUFFIX.length);
    const counts = file.tensors.get(matrix + COUNTS_SUFFIX);
    if (!counts)
      throw new FileError(`${source.name}: ${quote(name)} is there without ${quote(matrix + COUNTS_SUFFIX)}.`);
    means.check(matrix, elements(sums));
    const [count] = await floats(file, counts, 1, signal);
    means.add(matrix, await floats(file, sums, elements(sums), signal), count!);
  }
  const datasets = (await file.strings(DATASETS_KEY, signal)) ?? [];
  return means.finish(datasets, numberOf(file, CHUNK_COUNT_KEY), numberOf(file, CHUNK_SIZE_KEY));
}

const elements = ({ shape }: GgufTensor): number => shape.reduce((product, size) => product * size, 1);

/** The values of a tensor of f32 that has so many. Several counts are those of experts. */
async function floats(
  { name: file, rows }: GgufFile,
  tensor: GgufTensor,
  count: number,
  signal?: AbortSignal,
): Promise<Float32Array<ArrayBuffer>> {
  const { name, shape, type, byteLength } = tensor;
  if (type.name !== 'f32') throw new FileError(`${file}: ${quote(name)} is ${type.name}; statistics are f32.`);
  if (elements(tensor) !== count || byteLength !== 4 * count) {
    throw new FileError(`${file}: ${quote(name)} has the shape [${shape}]; ${count} number(s) were expected.`);
  }
  const all = shape.length === 1 ? count : count / shape.at(-1)!;
  return new Float32Array((await rows(tensor, 0, all, signal)).slice().buffer);
}

function numberOf({ scalars }: GgufFile, key: string): number {
  const value = scalars.get(key)?.value;
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : 0;
}
