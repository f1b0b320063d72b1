import { ArgumentError, OutOfMemoryError } from '../errors.ts';
import { checkRow } from '../formats/checks.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes, contentBytes, formatBytes, rowMultiple } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { type Binding, type BufferView, read } from '../gpu/kernel.ts';

/** Consecutive rows of a weight whose arrays each fit one binding. */
export interface WeightPart {
  readonly rowStart: number;
  readonly rows: number;
  /** In the order of `format.arrays`. */
  readonly arrays: readonly BufferView[];
}

/** A matrix [rows, k] on the GPU, stored in one format. */
export interface Weight {
  readonly kind: 'dense' | 'quantized';
  readonly format: Format;
  readonly rows: number;
  readonly k: number;
  readonly parts: readonly WeightPart[];
  readonly byteLength: number;
  /** Frees its buffers, unless they are the caller's. */
  release(): void;
}

/** Row counts of parts are multiples of this, so that every array of every part starts on a whole word of the file. */
const ROW_MULTIPLE = 8;

const wordBytes = (bytes: number) => Math.ceil(bytes / 4) * 4;

/** Kernels index the weights of a part with 32 bits. */
const MAX_PART_WEIGHTS = 2 ** 32 - 1024;

/** Most rows that fit one binding of the device in every array, and that a kernel can index. */
export function rowsPerPart(format: Format, k: number, limit: number): number {
  // Both are powers of two.
  const multiple = Math.max(ROW_MULTIPLE, rowMultiple(format, k));
  const perMultiple = Math.max(...format.arrays.map((array) => contentBytes(array, multiple, k)));
  const rows = Math.floor(Math.min(limit / perMultiple, MAX_PART_WEIGHTS / (k * multiple))) * multiple;
  if (rows === 0)
    throw new OutOfMemoryError(`Rows of ${k} weights in ${format.name} do not fit a binding of ${limit} bytes.`);
  return rows;
}

/** Bytes that no device has: asked for that much, some drivers end the process. */
const MOST_BYTES = 2 ** 40;

/**
 * Room for a weight on the GPU, split over several buffers by rows where the binding limit asks for it.
 * @throws ArgumentError for sizes that are no whole numbers from 1 on; FormatError where the format's block does not divide a row;
 * OutOfMemoryError
 */
export function allocateWeight(gpu: Gpu, format: Format, rows: number, k: number, label: string): Weight {
  for (const size of [rows, k]) {
    if (!Number.isInteger(size) || size < 1) {
      throw new ArgumentError(`${label}: ${rows} x ${k} is no size of a weight: give whole numbers from 1 on.`);
    }
  }
  checkRow(format, k, label);
  if (formatBytes(format, rows, k) > MOST_BYTES) {
    throw new OutOfMemoryError(`${label}: ${rows} x ${k} weights in ${format.name} are more than any GPU holds.`);
  }
  const most = rowsPerPart(format, k, gpu.bindingLimit);
  const parts: WeightPart[] = [];
  const made: GPUBuffer[] = [];
  const release = () => {
    for (const buffer of made) gpu.memory.release(buffer);
  };
  try {
    for (let rowStart = 0; rowStart < rows; rowStart += most) {
      const partRows = Math.min(most, rows - rowStart);
      const arrays = format.arrays.map((array) => {
        const size = Math.max(4, arrayBytes(array, partRows, k));
        const buffer = gpu.memory.allocate(size, `${label}.${array.name}`);
        made.push(buffer);
        return { buffer, size };
      });
      parts.push({ rowStart, rows: partRows, arrays });
    }
  } catch (error) {
    release();
    throw error;
  }
  return {
    kind: format.kind === 'dense' ? 'dense' : 'quantized',
    format,
    rows,
    k,
    parts,
    byteLength: formatBytes(format, rows, k),
    release,
  };
}

/** Uploads arrays in the device layout. @throws ArgumentError where one is missing, OutOfMemoryError */
export function uploadWeight(
  gpu: Gpu,
  format: Format,
  rows: number,
  k: number,
  arrays: HostArrays,
  label: string,
): Weight {
  const missing = format.arrays.find(({ name }) => !arrays[name]);
  if (missing) throw new ArgumentError(`${label} lacks the array "${missing.name}" of ${format.name}.`);
  const weight = allocateWeight(gpu, format, rows, k, label);
  writeWeight(gpu, weight, arrays);
  return weight;
}

/** Uploads arrays in the device layout in place of those that a weight has. */
export function writeWeight(gpu: Gpu, { format, k, parts }: Weight, arrays: HostArrays): void {
  for (const part of parts) {
    for (const [i, array] of format.arrays.entries()) {
      const { buffer, offset } = part.arrays[i]!;
      const start = contentBytes(array, part.rowStart, k);
      const length = contentBytes(array, part.rows, k);
      gpu.upload(buffer, padToWord(arrays[array.name]!.subarray(start, start + length)), offset);
    }
  }
}

/** Bytes that are read back at a time: bounds the staging memory. */
export const READ_BACK_BYTES = 16 * 1024 * 1024;

/** Reads a weight back in the device layout, parts joined. */
export async function readWeight(gpu: Gpu, weight: Weight): Promise<HostArrays> {
  const arrays: HostArrays = {};
  for (const [i, array] of weight.format.arrays.entries()) {
    const whole = new Uint8Array(arrayBytes(array, weight.rows, weight.k));
    for (const part of weight.parts) {
      const view = part.arrays[i]!;
      const size = arrayBytes(array, part.rows, weight.k);
      for (let at = 0; at < size; at += READ_BACK_BYTES) {
        const count = Math.min(READ_BACK_BYTES, size - at);
        const bytes = await gpu.readBack(view.buffer, (view.offset ?? 0) + at, count);
        whole.set(bytes, contentBytes(array, part.rowStart, weight.k) + at);
      }
    }
    arrays[array.name] = whole;
  }
  return arrays;
}

/** Bind group 1 of a part. */
export function weightBindings(part: WeightPart): Binding[] {
  return part.arrays.map(read);
}

/**
 * A dense matrix that the caller already has in a buffer: no copy is made, and release leaves it alone. It has to fit one binding of the device, and begin where
 * one may begin, mostly at a multiple of 256 bytes: steps that use it are refused else.
 * @throws ArgumentError where the buffer is too small
 */
export function wrapDense(
  buffer: GPUBuffer,
  rows: number,
  k: number,
  type: 'f32' | 'f16' | 'bf16' = 'f32',
  offset = 0,
): Weight {
  const format = formatByName(type);
  const size = arrayBytes(format.arrays[0]!, rows, k);
  if (offset + size > buffer.size) {
    throw new ArgumentError(
      `A ${rows}x${k} ${type} matrix needs ${size} bytes at ${offset}; the buffer has ${buffer.size}.`,
    );
  }
  return {
    kind: 'dense',
    format,
    rows,
    k,
    byteLength: size,
    parts: [{ rowStart: 0, rows, arrays: [{ buffer, offset, size }] }],
    release: () => {},
  };
}

/** The bytes, followed by zeros up to a whole 32-bit word: what an upload takes. */
export function padToWord(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength % 4 === 0) return bytes;
  const padded = new Uint8Array(wordBytes(bytes.byteLength));
  padded.set(bytes);
  return padded;
}
