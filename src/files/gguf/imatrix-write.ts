import { ArgumentError } from '../../errors.ts';
import type { ByteSink } from '../sink.ts';
import { quote } from '../text.ts';
import { text, texts, u32 } from './entries.ts';
import { ggmlTypeByName } from './ggml-types.ts';
import {
  CHUNK_COUNT_KEY,
  CHUNK_SIZE_KEY,
  COUNTS_SUFFIX,
  DATASETS_KEY,
  IMATRIX_TYPE,
  type Imatrix,
  SUMS_SUFFIX,
} from './imatrix.ts';
import { ggufName } from './tensor-names.ts';
import { type GgufTensorSpec, writeGguf } from './write.ts';

/** From here on f32 has no longer every whole number. */
const MOST_TOKENS = 2 ** 24;

/**
 * Writes an importance matrix as llama.cpp's `llama-imatrix` does (GGUF): of each matrix the sums of x² over all tokens, which are
 * `chunkCount` · `chunkSize`, and their number. The sink is committed. The same input gives the same bytes.
 * @throws ArgumentError for a matrix that GGUF has no name for, numbers that are negative or not finite, and a number of tokens that a
 * file can't hold
 */
export async function writeImatrix(sink: ByteSink, imatrix: Imatrix): Promise<void> {
  const { importance, datasets, chunkCount, chunkSize } = imatrix;
  const tokens = chunkCount * chunkSize;
  if (!Number.isInteger(tokens) || tokens < 1 || tokens > MOST_TOKENS) {
    throw new ArgumentError(
      `${chunkCount} chunks of ${chunkSize} tokens can't be written: give whole numbers that make 1 to ${MOST_TOKENS} tokens.`,
    );
  }
  const type = ggmlTypeByName('f32')!;
  const matrices = [...importance].map(([name, means]) => ({ name: nameOf(name), sums: sumsOf(name, means, tokens) }));
  matrices.sort((a, b) => (a.name < b.name ? -1 : 1));
  const specs = matrices.flatMap(({ name, sums }): GgufTensorSpec[] => [
    { name: name + SUMS_SUFFIX, type, shape: [sums.length] },
    { name: name + COUNTS_SUFFIX, type, shape: [1] },
  ]);
  const writer = await writeGguf(
    sink,
    [
      text('general.type', IMATRIX_TYPE),
      texts(DATASETS_KEY, datasets),
      u32(CHUNK_COUNT_KEY, chunkCount),
      u32(CHUNK_SIZE_KEY, chunkSize),
    ],
    specs,
  );
  for (const { name, sums } of matrices) {
    await writer.write(name + SUMS_SUFFIX, new Uint8Array(sums.buffer));
    await writer.write(name + COUNTS_SUFFIX, new Uint8Array(Float32Array.of(tokens).buffer));
  }
  await writer.finish();
}

function nameOf(huggingFace: string): string {
  const name = ggufName(huggingFace);
  if (name !== undefined) return name;
  throw new ArgumentError(`${quote(huggingFace)} has no name in GGUF, so its importance can't be written.`);
}

function sumsOf(name: string, means: Float32Array, tokens: number): Float32Array<ArrayBuffer> {
  const sums = Float32Array.from(means, (x) => x * tokens);
  const bad = sums.findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
  if (bad < 0) return sums;
  throw new ArgumentError(
    `The importance of column ${bad} of ${quote(name)} is ${means[bad]}; it has to be finite over all tokens, and not negative.`,
  );
}
