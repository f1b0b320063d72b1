import { ArgumentError } from '../../errors.ts';
import type { ByteSink } from '../sink.ts';
import { type TensorWriter, tensorWriter } from '../tensor-writer.ts';
import { isWellFormed, quote } from '../text.ts';
import type { GgufEntry } from './entries.ts';
import type { GgmlType } from './ggml-types.ts';
import {
  DEFAULT_ALIGNMENT,
  GGUF_VERSION,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_KEYS,
  MAX_STRING_BYTES,
  MAX_TENSOR_NAME_BYTES,
  MAX_TENSORS,
} from './limits.ts';
import { ValueType, valueBytes } from './value-types.ts';

/** A tensor that is to be written. */
export interface GgufTensorSpec {
  /** As GGUF calls it. */
  readonly name: string;
  readonly type: GgmlType;
  /** Row-major, the last dimension contiguous. */
  readonly shape: readonly number[];
  /** Added to every value on the way into the file; for tensors of f32 only. Default: 0. */
  readonly addend?: number;
}

/** Bytes that a tensor takes. @throws ArgumentError where its shape is none that the type can have */
export function ggufBytes({ name, type, shape, addend }: GgufTensorSpec): number {
  if (addend && type.name !== 'f32') {
    throw new ArgumentError(`Tensor ${quote(name)} is ${type.name}; only to values of f32 something can be added.`);
  }
  const bytes = (shape.reduce((product, size) => product * size, 1) / type.block) * type.bytes;
  const sane =
    shape.length >= 1 && shape.length <= MAX_DIMENSIONS && shape.every((n) => Number.isSafeInteger(n) && n > 0);
  if (!sane || !Number.isSafeInteger(bytes) || shape.at(-1)! % type.block !== 0) {
    throw new ArgumentError(
      `Tensor ${quote(name)} can't be written to GGUF: [${shape}] of ${type.name} is no usable shape.`,
    );
  }
  return bytes;
}

const padding = (bytes: number): number => (DEFAULT_ALIGNMENT - (bytes % DEFAULT_ALIGNMENT)) % DEFAULT_ALIGNMENT;

/**
 * Starts a GGUF file (version 3, aligned to 32 bytes): writes the metadata and the infos of `tensors`, whose data follows by
 * `write`. The same input gives the same bytes.
 * @throws ArgumentError for names, shapes or values that no reader would take
 */
export async function writeGguf(
  sink: ByteSink,
  entries: readonly GgufEntry[],
  tensors: readonly GgufTensorSpec[],
): Promise<TensorWriter> {
  const lengths = tensors.map(ggufBytes);
  for (const piece of encodeHeader(entries, tensors, lengths)) await sink.write(piece);
  const writer = tensorWriter(
    sink,
    tensors.map(({ name }) => name),
    lengths,
    padding,
  );
  const addends = new Map(tensors.flatMap(({ name, addend }) => (addend ? [[name, addend] as const] : [])));
  return {
    ...writer,
    write(name, bytes) {
      const addend = addends.get(name);
      return writer.write(name, addend === undefined ? bytes : raised(bytes, addend));
    },
  };
}

/** Little-endian f32 values with a number added. */
function raised(bytes: Uint8Array, addend: number): Uint8Array {
  const values = new Float32Array(bytes.slice().buffer);
  return new Uint8Array(values.map((x) => x + addend).buffer);
}

function encodeHeader(
  entries: readonly GgufEntry[],
  tensors: readonly GgufTensorSpec[],
  lengths: readonly number[],
): Uint8Array[] {
  if (entries.length > MAX_KEYS) throw new ArgumentError(`A GGUF file holds at most ${MAX_KEYS} keys.`);
  if (tensors.length > MAX_TENSORS) throw new ArgumentError(`A GGUF file holds at most ${MAX_TENSORS} tensors.`);
  const out = new Encoder();
  out.raw(new TextEncoder().encode('GGUF'));
  out.scalar(ValueType.UINT32, GGUF_VERSION);
  out.scalar(ValueType.UINT64, BigInt(tensors.length));
  out.scalar(ValueType.UINT64, BigInt(entries.length));
  const keys = new Set<string>();
  for (const entry of entries) {
    if (keys.has(entry.key)) throw new ArgumentError(`The key ${quote(entry.key)} can't be written twice.`);
    keys.add(entry.key);
    out.string(entry.key, MAX_KEY_BYTES);
    encodeEntry(out, entry);
  }
  const names = new Set<string>();
  let offset = 0;
  for (const [i, { name, type, shape }] of tensors.entries()) {
    if (names.has(name)) throw new ArgumentError(`Tensor ${quote(name)} can't be written twice.`);
    names.add(name);
    out.string(name, MAX_TENSOR_NAME_BYTES);
    out.scalar(ValueType.UINT32, shape.length);
    for (const size of [...shape].reverse()) out.scalar(ValueType.UINT64, BigInt(size));
    out.scalar(ValueType.UINT32, type.id);
    out.scalar(ValueType.UINT64, BigInt(offset));
    offset += lengths[i]! + padding(lengths[i]!);
  }
  out.raw(new Uint8Array(padding(out.byteLength)));
  return out.pieces();
}

function encodeEntry(out: Encoder, entry: GgufEntry): void {
  if ('value' in entry) {
    out.scalar(ValueType.UINT32, entry.type);
    out.value(entry.type, entry.value);
    return;
  }
  out.scalar(ValueType.UINT32, ValueType.ARRAY);
  out.scalar(ValueType.UINT32, entry.elementType);
  if ('bytes' in entry) {
    out.scalar(ValueType.UINT64, BigInt(entry.count));
    out.raw(entry.bytes);
    return;
  }
  out.scalar(ValueType.UINT64, BigInt(entry.values.length));
  for (const value of entry.values) out.value(entry.elementType, value);
}

/** Bytes of one piece: a vocabulary makes several. */
const PIECE_BYTES = 256 * 1024;

/** Collects little-endian values. */
class Encoder {
  readonly #pieces: Uint8Array[] = [];
  #piece = new Uint8Array(PIECE_BYTES);
  #view = new DataView(this.#piece.buffer);
  #used = 0;
  byteLength = 0;

  pieces(): Uint8Array[] {
    this.#flush();
    return this.#pieces;
  }

  raw(bytes: Uint8Array): void {
    if (bytes.byteLength > PIECE_BYTES) {
      this.#flush();
      this.#pieces.push(bytes);
      this.byteLength += bytes.byteLength;
      return;
    }
    const at = this.#reserve(bytes.byteLength);
    this.#piece.set(bytes, at);
  }

  string(text: string, most = MAX_STRING_BYTES): void {
    const bytes = new TextEncoder().encode(text);
    if (bytes.byteLength > most || !isWellFormed(text)) {
      throw new ArgumentError(
        `${quote(text)} can't be written: it is too long (at most ${most} bytes) or not valid Unicode.`,
      );
    }
    this.scalar(ValueType.UINT64, BigInt(bytes.byteLength));
    this.raw(bytes);
  }

  value(type: ValueType, value: number | bigint | boolean | string): void {
    if (type === ValueType.STRING) this.string(String(value));
    else this.scalar(type, value);
  }

  scalar(type: ValueType, value: number | bigint | boolean | string): void {
    const bytes = valueBytes(type);
    if (bytes === undefined || typeof value === 'string') {
      throw new ArgumentError(`${quote(String(value))} is no value of the GGUF type ${type}.`);
    }
    const at = this.#reserve(bytes);
    const view = this.#view;
    switch (type) {
      case ValueType.FLOAT32:
        view.setFloat32(at, Number(value), true);
        break;
      case ValueType.FLOAT64:
        view.setFloat64(at, Number(value), true);
        break;
      case ValueType.UINT64:
      case ValueType.INT64:
        view.setBigInt64(at, BigInt.asIntN(64, BigInt(value)), true);
        break;
      case ValueType.UINT32:
      case ValueType.INT32:
        view.setInt32(at, whole(value, type), true);
        break;
      case ValueType.UINT16:
      case ValueType.INT16:
        view.setInt16(at, whole(value, type), true);
        break;
      default:
        view.setInt8(at, whole(value, type));
    }
  }

  #reserve(bytes: number): number {
    if (this.#used + bytes > PIECE_BYTES) this.#flush();
    const at = this.#used;
    this.#used += bytes;
    this.byteLength += bytes;
    return at;
  }

  #flush(): void {
    if (this.#used > 0) this.#pieces.push(this.#piece.slice(0, this.#used));
    this.#used = 0;
  }
}

const RANGES: Partial<Record<ValueType, readonly [number, number]>> = {
  [ValueType.UINT8]: [0, 0xff],
  [ValueType.INT8]: [-0x80, 0x7f],
  [ValueType.UINT16]: [0, 0xffff],
  [ValueType.INT16]: [-0x8000, 0x7fff],
  [ValueType.UINT32]: [0, 0xffff_ffff],
  [ValueType.INT32]: [-0x8000_0000, 0x7fff_ffff],
  [ValueType.BOOL]: [0, 1],
};

function whole(value: number | bigint | boolean, type: ValueType): number {
  const number = Number(value);
  const [low, high] = RANGES[type]!;
  if (Number.isInteger(number) && number >= low && number <= high) return number;
  throw new ArgumentError(`${value} can't be written to GGUF: it is no whole number from ${low} to ${high}.`);
}
