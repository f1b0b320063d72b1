import { FileError } from '../../errors.ts';
import type { ByteSource } from '../source.ts';
import { quote } from '../text.ts';
import { ForwardReader } from './forward-reader.ts';
import {
  GGUF_VERSION,
  MAX_ARRAY_DEPTH,
  MAX_ARRAY_ELEMENTS,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_KEYS,
  MAX_REDUCED_BYTES,
  MAX_STRING_BYTES,
  MAX_TENSOR_NAME_BYTES,
  MAX_TENSORS,
  PREFIX_BYTES,
} from './limits.ts';
import { isValueType, ValueType, valueBytes } from './value-types.ts';

/** An array of the metadata, left in the file. */
export interface ArraySpan {
  readonly elementType: ValueType;
  readonly count: number;
  /** Of the first element, from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A header whose structure holds together. */
export interface GgufScan {
  /** The header with every array emptied: small, and safe to hand to a parser. */
  readonly reduced: Uint8Array<ArrayBuffer>;
  /** The arrays, by key. */
  readonly arrays: ReadonlyMap<string, ArraySpan>;
  /** Where the tensor infos end, from the start of the file. */
  readonly end: number;
}

const MAGIC = 'GGUF';

/** Names that an object would lose or act on (CWE-1321), and those that the parser puts values of its own under. */
const RESERVED: ReadonlySet<string> = new Set([
  '__proto__',
  'constructor',
  'prototype',
  'version',
  'tensor_count',
  'kv_count',
]);

/** Whether a file starts as GGUF files do. */
export async function isGguf(source: ByteSource, signal?: AbortSignal): Promise<boolean> {
  if (source.size < MAGIC.length) return false;
  return String.fromCharCode(...(await source.read(0, MAGIC.length, signal))) === MAGIC;
}

/**
 * Walks the header of a GGUF file and refuses what no honest writer makes, before any of it is held or parsed: other
 * versions, counts and lengths without measure, unknown types, deep nesting, names that are taken twice, reserved or no UTF-8.
 * @throws FileError that names the file, the key or tensor and the offset
 */
export async function scanHeader(source: ByteSource, signal?: AbortSignal): Promise<GgufScan> {
  const scan = new Scan(source, signal);
  const { keys, tensors } = await scan.prefix();
  for (let i = 0; i < keys; i++) await scan.entry(i);
  const names = new Set<string>();
  for (let i = 0; i < tensors; i++) await scan.tensorInfo(i, names);
  return scan.finish();
}

class Scan {
  readonly #source: ByteSource;
  readonly #reader: ForwardReader;
  readonly #pieces: Uint8Array[] = [];
  readonly #arrays = new Map<string, ArraySpan>();
  readonly #keys = new Set<string>();
  #reducedBytes = 0;
  #elements = 0;

  constructor(source: ByteSource, signal?: AbortSignal) {
    this.#source = source;
    this.#reader = new ForwardReader(source, 0, signal);
  }

  async prefix(): Promise<{ keys: number; tensors: number }> {
    const { name, size } = this.#source;
    if (size < PREFIX_BYTES) {
      throw new FileError(`${name}: ${size} bytes are too few for a GGUF file. It is truncated or of another type.`);
    }
    await this.#reader.need(PREFIX_BYTES, 'the start of the header');
    const prefix = this.#keep(this.#reader.bytes(PREFIX_BYTES));
    const view = new DataView(prefix.buffer);
    if (String.fromCharCode(...prefix.subarray(0, MAGIC.length)) !== MAGIC) {
      throw new FileError(`${name}: it does not start with "${MAGIC}". This is no GGUF file.`);
    }
    const version = view.getUint32(4, true);
    if (version !== GGUF_VERSION) {
      const problem =
        version !== 0 && version % 65536 === 0
          ? `it is big-endian (version ${view.getUint32(4, false)})`
          : `it has version ${version}`;
      throw new FileError(
        `${name}: ${problem}; little-endian files of version ${GGUF_VERSION} are read. Convert the model again with a current llama.cpp.`,
      );
    }
    const tensors = view.getBigUint64(8, true);
    const keys = view.getBigUint64(16, true);
    if (tensors > BigInt(MAX_TENSORS)) {
      throw new FileError(
        `${name}: the header at offset 8 announces ${tensors} tensors; at most ${MAX_TENSORS} are read.`,
      );
    }
    if (keys > BigInt(MAX_KEYS)) {
      throw new FileError(`${name}: the header at offset 16 announces ${keys} keys; at most ${MAX_KEYS} are read.`);
    }
    return { keys: Number(keys), tensors: Number(tensors) };
  }

  /** One key with its value. */
  async entry(index: number): Promise<void> {
    const { offset } = this.#reader;
    const key = await this.#text(MAX_KEY_BYTES, `the name of key ${index}`);
    if (key === '') this.#fail(`key ${index} at offset ${offset} has no name`);
    if (RESERVED.has(key)) this.#fail(`the key ${quote(key)} at offset ${offset} is reserved. Rename it`);
    if (this.#keys.has(key)) this.#fail(`the key ${quote(key)} at offset ${offset} is there twice. Remove one of them`);
    this.#keys.add(key);
    const what = `the value of ${quote(key)}`;
    const type = await this.#type(what);
    if (type === ValueType.ARRAY) {
      const span = await this.#array(what, 1);
      this.#arrays.set(key, span);
      const empty = new Uint8Array(12);
      new DataView(empty.buffer).setUint32(0, span.elementType, true);
      this.#keep(empty);
    } else if (type === ValueType.STRING) {
      await this.#text(MAX_STRING_BYTES, what);
    } else {
      const bytes = valueBytes(type)!;
      await this.#reader.need(bytes, what);
      const value = this.#keep(this.#reader.bytes(bytes));
      if (type === ValueType.BOOL && value[0]! > 1) {
        this.#fail(`${what} at offset ${this.#reader.offset - 1} is ${value[0]}, which is no truth value`);
      }
    }
  }

  /** One tensor's name, dimensions, type and offset; what they mean is checked once they are parsed. */
  async tensorInfo(index: number, names: Set<string>): Promise<void> {
    const { offset } = this.#reader;
    const name = await this.#text(MAX_TENSOR_NAME_BYTES, `the name of tensor ${index}`);
    if (name === '') this.#fail(`tensor ${index} at offset ${offset} has no name`);
    if (RESERVED.has(name)) this.#fail(`the tensor name ${quote(name)} at offset ${offset} is reserved. Rename it`);
    if (names.has(name)) this.#fail(`the tensor ${quote(name)} at offset ${offset} is there twice. Remove one of them`);
    names.add(name);
    const what = `the info of tensor ${quote(name)}`;
    await this.#reader.need(4, what);
    const start = this.#reader.offset;
    const dimensions = new DataView(this.#keep(this.#reader.bytes(4)).buffer).getUint32(0, true);
    if (dimensions === 0 || dimensions > MAX_DIMENSIONS) {
      this.#fail(
        `tensor ${quote(name)} at offset ${start} has ${dimensions} dimensions; 1 to ${MAX_DIMENSIONS} are read`,
      );
    }
    const rest = 8 * dimensions + 4 + 8;
    await this.#reader.need(rest, what);
    this.#keep(this.#reader.bytes(rest));
  }

  finish(): GgufScan {
    const reduced = new Uint8Array(this.#reducedBytes);
    let at = 0;
    for (const piece of this.#pieces) {
      reduced.set(piece, at);
      at += piece.byteLength;
    }
    return { reduced, arrays: this.#arrays, end: this.#reader.offset };
  }

  async #type(what: string): Promise<ValueType> {
    await this.#reader.need(4, `the type of ${what}`);
    const { offset } = this.#reader;
    const bytes = this.#keep(this.#reader.bytes(4));
    return this.#known(new DataView(bytes.buffer).getUint32(0, true), offset, what);
  }

  #known(type: number, offset: number, what: string): ValueType {
    if (!isValueType(type)) this.#fail(`${what} at offset ${offset} has the unknown type ${type}`);
    return type;
  }

  /** A string that is kept, as text. */
  async #text(most: number, what: string): Promise<string> {
    await this.#reader.need(8, what);
    const start = this.#reader.offset;
    const lengthBytes = this.#reader.bytes(8);
    const length = this.#length(new DataView(lengthBytes.buffer).getBigUint64(0, true), most, start, what);
    await this.#reader.need(length, what);
    const bytes = this.#reader.bytes(length);
    this.#keep(lengthBytes);
    this.#keep(bytes);
    try {
      return UTF8.decode(bytes);
    } catch {
      return this.#fail(`${what} at offset ${start} is not valid UTF-8`);
    }
  }

  #length(length: bigint, most: number, offset: number, what: string): number {
    if (length > BigInt(most))
      this.#fail(`${what} at offset ${offset} takes ${length} bytes; at most ${most} are read`);
    return Number(length);
  }

  /** Walks an array to its end. */
  async #array(what: string, depth: number): Promise<ArraySpan> {
    const reader = this.#reader;
    const start = reader.offset;
    if (depth > MAX_ARRAY_DEPTH) {
      this.#fail(`${what} nests more than ${MAX_ARRAY_DEPTH} arrays at offset ${start}. No real file does`);
    }
    await reader.need(12, what);
    const elementType = this.#known(reader.u32(), start, `an element of ${what}`);
    const announced = reader.u64();
    this.#elements += Number(announced);
    if (this.#elements > MAX_ARRAY_ELEMENTS) {
      this.#fail(
        `${what} at offset ${start} has ${announced} elements; all arrays together may have ${MAX_ARRAY_ELEMENTS}`,
      );
    }
    const count = Number(announced);
    const { offset } = reader;
    const size = valueBytes(elementType);
    if (size !== undefined) {
      reader.skip(count * size, what);
    } else {
      // Each element takes 8 bytes or more.
      reader.check(8 * count, what);
      for (let i = 0; i < count; i++) {
        if (elementType === ValueType.ARRAY) await this.#array(what, depth + 1);
        else await this.#skipString(`element ${i} of`, what);
      }
    }
    return { elementType, count, offset, byteLength: reader.offset - offset };
  }

  async #skipString(which: string, what: string): Promise<void> {
    const reader = this.#reader;
    // Vocabularies have hundreds of thousands: waiting costs more than reading.
    if (!reader.has(8)) await reader.need(8, `${which} ${what}`);
    const start = reader.offset;
    const length = reader.u64();
    if (length > BigInt(MAX_STRING_BYTES)) this.#length(length, MAX_STRING_BYTES, start, `${which} ${what}`);
    reader.skip(Number(length), what);
  }

  #keep(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    this.#pieces.push(bytes);
    this.#reducedBytes += bytes.byteLength;
    if (this.#reducedBytes > MAX_REDUCED_BYTES) {
      this.#fail(`the header without its arrays takes more than ${MAX_REDUCED_BYTES} bytes`);
    }
    return bytes;
  }

  #fail(problem: string): never {
    throw new FileError(`${this.#source.name}: ${problem}. If it is meant to be a model, download it again.`);
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
