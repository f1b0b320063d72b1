import { FileError } from '../../errors.ts';
import type { ByteSource } from '../source.ts';
import { ForwardReader } from './forward-reader.ts';
import type { Imatrix } from './imatrix.ts';
import type { ImatrixMeans } from './imatrix-means.ts';
import { MAX_STRING_BYTES, MAX_TENSOR_NAME_BYTES, MAX_TENSORS } from './limits.ts';

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The older form of llama.cpp's importance matrices, little-endian: i32 number of matrices; for each the length of its name, the name,
 * how often it was called, how many columns follow, and f32 means of x² times the calls; then, where they are there, chunks in all and
 * the name of the text.
 */
export async function readLegacyImatrix(
  source: ByteSource,
  means: ImatrixMeans,
  signal?: AbortSignal,
): Promise<Imatrix> {
  const reader = new ForwardReader(source, 0, signal);
  const number = async (what: string, least: number, most: number): Promise<number> => {
    await reader.need(4, what);
    const { offset } = reader;
    const value = reader.u32() | 0;
    if (value >= least && value <= most) return value;
    throw new FileError(
      `${source.name}: ${what} at offset ${offset} is ${value}; ${least} to ${most} were expected. This is no importance matrix of llama.cpp, or a damaged one.`,
    );
  };
  const name = async (what: string, most: number): Promise<string> => {
    const length = await number(`the length of ${what}`, 0, most);
    await reader.need(length, what);
    const { offset } = reader;
    try {
      return UTF8.decode(reader.bytes(length));
    } catch {
      throw new FileError(`${source.name}: ${what} at offset ${offset} is not valid UTF-8.`);
    }
  };
  const matrices = await number('the number of matrices', 1, MAX_TENSORS);
  for (let i = 0; i < matrices; i++) {
    const matrix = await name(`the name of matrix ${i}`, MAX_TENSOR_NAME_BYTES);
    const calls = await number(`the calls of matrix ${i}`, 0, 2 ** 31 - 1);
    const columns = await number(`the columns of matrix ${i}`, 1, 2 ** 31 - 1);
    means.check(matrix, columns);
    await reader.need(4 * columns, `the sums of matrix ${i}`);
    means.add(matrix, new Float32Array(reader.bytes(4 * columns).buffer), calls);
  }
  if (reader.offset === source.size) return means.finish([], 0, 0);
  const chunks = await number('the number of chunks', 0, 2 ** 31 - 1);
  const text = await name('the name of the text', MAX_STRING_BYTES);
  if (reader.offset !== source.size) {
    throw new FileError(
      `${source.name}: ${source.size - reader.offset} bytes at offset ${reader.offset} belong to nothing.`,
    );
  }
  return means.finish(text === '' ? [] : [text], chunks, 0);
}
