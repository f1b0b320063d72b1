import { ArgumentError } from '../errors.ts';
import type { ElementType } from '../formats/format.ts';
import { ELEMENT_BYTES, elementCount } from './element-type.ts';
import {
  LENGTH_BYTES,
  MAX_DIMENSIONS,
  MAX_HEADER_BYTES,
  MAX_METADATA_ENTRIES,
  MAX_NAME_LENGTH,
  MAX_TENSORS,
} from './safetensors-limits.ts';
import type { ByteSink } from './sink.ts';
import { type TensorWriter, tensorWriter } from './tensor-writer.ts';
import { isWellFormed, quote } from './text.ts';

/** A tensor that is to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
}

/** The header is padded so that data starts at a multiple of this; with `alignedOrder` every tensor does. */
const ALIGNMENT = 8;

/** Bytes that a tensor takes. @throws ArgumentError where its shape is none. */
export function byteLengthOf({ name, type, shape }: TensorSpec): number {
  const count = shape.every((size) => Number.isSafeInteger(size) && size >= 0) ? elementCount(shape) : undefined;
  const bytes = (count ?? Number.NaN) * ELEMENT_BYTES[type];
  if (!Number.isSafeInteger(bytes) || shape.length > MAX_DIMENSIONS) {
    throw new ArgumentError(`Tensor ${quote(name)} can't be written: [${shape}] of ${type} is no usable shape.`);
  }
  return bytes;
}

/** The tensors by falling element size, otherwise in the order given: each then starts at a multiple of its element size. */
export const alignedOrder = <T extends TensorSpec>(tensors: readonly T[]): T[] =>
  [...tensors].sort((a, b) => ELEMENT_BYTES[b.type] - ELEMENT_BYTES[a.type]);

/**
 * Starts a safetensors file: writes the header for `tensors`, whose data follows by `write`. The same tensors and
 * metadata give the same bytes.
 * @throws ArgumentError for names, shapes or metadata that no reader would take.
 */
export async function writeSafetensors(
  sink: ByteSink,
  tensors: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<TensorWriter> {
  const lengths = tensors.map(byteLengthOf);
  await sink.write(encodeHeader(tensors, lengths, metadata));
  return tensorWriter(
    sink,
    tensors.map(({ name }) => name),
    lengths,
  );
}

function encodeHeader(
  tensors: readonly TensorSpec[],
  lengths: readonly number[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  if (tensors.length > MAX_TENSORS) throw new ArgumentError(`A file holds at most ${MAX_TENSORS} tensors.`);
  // Text by hand: an object would lose a tensor called `__proto__` and reorder names like "7".
  const entries: string[] = [];
  const strings = encodeMetadata(metadata);
  if (strings !== undefined) entries.push(`"__metadata__":${strings}`);
  const names = new Set(['__metadata__']);
  let offset = 0;
  for (const [i, { name, type, shape }] of tensors.entries()) {
    if (names.has(name) || name.length > MAX_NAME_LENGTH || !isWellFormed(name)) {
      throw new ArgumentError(
        `Tensor ${quote(name)} can't be written: its name is taken, reserved, too long or not valid Unicode.`,
      );
    }
    names.add(name);
    const end = offset + lengths[i]!;
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: type, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(',')}}`);
  const padded = Math.ceil(json.byteLength / ALIGNMENT) * ALIGNMENT;
  if (padded > MAX_HEADER_BYTES) {
    throw new ArgumentError(`The header would take ${padded} bytes; readers take at most ${MAX_HEADER_BYTES}.`);
  }
  const header = new Uint8Array(LENGTH_BYTES + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, LENGTH_BYTES);
  return header;
}

function encodeMetadata(metadata: Readonly<Record<string, string>>): string | undefined {
  const entries = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length > MAX_METADATA_ENTRIES) {
    throw new ArgumentError(`A file holds at most ${MAX_METADATA_ENTRIES} metadata entries.`);
  }
  if (entries.length === 0) return undefined;
  return `{${entries.map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`).join(',')}}`;
}
