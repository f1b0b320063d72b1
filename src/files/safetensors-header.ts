import * as v from 'valibot';
import { FileError } from '../errors.ts';
import type { ElementType } from '../formats/format.ts';
import { ELEMENT_BYTES, elementCount, isElementType } from './element-type.ts';
import {
  LENGTH_BYTES,
  MAX_DIMENSIONS,
  MAX_METADATA_ENTRIES,
  MAX_NAME_LENGTH,
  MAX_TENSORS,
} from './safetensors-limits.ts';
import { type Json, parseJsonObject } from './strict-json.ts';
import { isWellFormed, quote } from './text.ts';

/** What a file says about one tensor, checked. */
export interface TensorInfo {
  readonly name: string;
  readonly type: ElementType;
  /** Row-major, the last dimension contiguous; empty for a scalar. */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A parsed header: its tensors in the order of their data. */
export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

const METADATA = '__metadata__';

const natural = v.pipe(
  v.number('is not a number'),
  v.safeInteger('is not an exact integer'),
  v.minValue(0, 'is negative'),
);

const EntrySchema = v.strictObject({
  dtype: v.string('is not a string'),
  shape: v.pipe(
    v.array(natural, 'is not a list of sizes'),
    v.maxLength(MAX_DIMENSIONS, `has more than ${MAX_DIMENSIONS} dimensions`),
  ),
  data_offsets: v.strictTuple([natural, natural], 'is not a pair [begin, end]'),
});

const DAMAGED = 'The file is damaged or was written wrongly; download or export it again.';

/**
 * The error for a file in which nothing says safetensors.
 * @param why as the name of a safetensors file may be on something else
 * @param start its first bytes, where there are some
 */
export function noSafetensors(file: string, why: string, start?: Uint8Array): FileError {
  if (start && String.fromCharCode(...start.subarray(0, 4)) === 'GGUF') {
    return new FileError(`${file}: it is a GGUF file, where one of safetensors should be; ${why}. Name it by itself.`);
  }
  const what = /\.gguf$/i.test(file)
    ? 'it is no GGUF file, since it does not start with "GGUF"'
    : `it is neither a safetensors nor a GGUF file, or a damaged one; ${why}`;
  return new FileError(`${file}: ${what}. Name another, or download it again.`);
}

/** Parses and checks the JSON header of a file of `fileSize` bytes; `file` is its name for messages. */
export function parseHeader(file: string, bytes: Uint8Array, fileSize: number): SafetensorsHeader {
  // The format wants `{` first; JSON.parse would skip blanks.
  if (bytes[0] !== 0x7b) {
    throw noSafetensors(file, `the header at offset ${LENGTH_BYTES} does not start with "{"`);
  }
  const header = parseJsonObject(bytes, `${file}: the safetensors header at offset ${LENGTH_BYTES}`);
  const entries = Object.entries(header);
  // Before any entry is checked: that takes longer than all of the parsing.
  if (entries.length - Number(Object.hasOwn(header, METADATA)) > MAX_TENSORS) {
    throw new FileError(`${file}: the header lists more than ${MAX_TENSORS} tensors. Split the model into shards.`);
  }
  const dataStart = LENGTH_BYTES + bytes.byteLength;
  const infos: TensorInfo[] = [];
  let metadata: Record<string, string> = Object.create(null);
  for (const [name, entry] of entries) {
    if (name === METADATA) metadata = parseMetadata(file, entry);
    else infos.push(parseEntry(file, name, entry, dataStart, fileSize));
  }
  infos.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkCoverage(file, infos, dataStart, fileSize);
  return { metadata, tensors: new Map(infos.map((info) => [info.name, info])) };
}

function parseMetadata(file: string, value: Json): Record<string, string> {
  const metadata: Record<string, string> = Object.create(null);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FileError(`${file}: ${METADATA} is not an object of strings. ${DAMAGED}`);
  }
  const entries = Object.entries(value);
  if (entries.length > MAX_METADATA_ENTRIES) {
    throw new FileError(
      `${file}: ${METADATA} has ${entries.length} entries; at most ${MAX_METADATA_ENTRIES} are read. Remove some.`,
    );
  }
  for (const [key, text] of entries) {
    if (typeof text !== 'string') {
      throw new FileError(`${file}: ${METADATA}.${quote(key)} is not a string. ${DAMAGED}`);
    }
    metadata[key] = text;
  }
  return metadata;
}

function parseEntry(file: string, name: string, value: Json, dataStart: number, fileSize: number): TensorInfo {
  const fail = (cause: string, fix = DAMAGED): never => {
    throw new FileError(`${file}: tensor ${quote(name)} ${cause}. ${fix}`);
  };
  if (name.length > MAX_NAME_LENGTH)
    fail(`has a name of ${name.length} characters; at most ${MAX_NAME_LENGTH} are read`);
  if (!isWellFormed(name)) fail('has a name that is not valid Unicode');
  const parsed = v.safeParse(EntrySchema, value, { abortEarly: true });
  if (!parsed.success) {
    const issue = parsed.issues[0];
    return fail(`has a wrong header entry: ${v.getDotPath(issue) ?? 'the entry'}: ${quote(issue.message)}`);
  }
  const { dtype, shape, data_offsets } = parsed.output;
  if (!isElementType(dtype)) {
    return fail(
      `has the unknown type ${quote(dtype)}`,
      `Convert it to one of ${Object.keys(ELEMENT_BYTES).join(', ')} first.`,
    );
  }
  const [begin, end] = data_offsets;
  const at = `(data_offsets ${begin}..${end}, data section at offset ${dataStart})`;
  if (end < begin) fail(`ends before it begins ${at}`);
  if (end > fileSize - dataStart) {
    fail(
      `reaches offset ${dataStart + end}, beyond the file's ${fileSize} bytes ${at}`,
      'The file is truncated; download it again.',
    );
  }
  const count = elementCount(shape);
  const byteLength = count === undefined ? undefined : count * ELEMENT_BYTES[dtype];
  // Halves and quarters of a byte are exact here: what is no integer ends within a byte.
  if (byteLength !== undefined && byteLength <= Number.MAX_SAFE_INTEGER && !Number.isInteger(byteLength)) {
    return fail(`ends inside a byte: shape [${shape}] of ${dtype} takes ${byteLength} bytes ${at}`);
  }
  if (byteLength === undefined || !Number.isSafeInteger(byteLength)) {
    return fail(`has an absurd size: shape [${shape}] of ${dtype} ${at}`);
  }
  if (byteLength !== end - begin) {
    fail(`has ${end - begin} bytes where shape [${shape}] of ${dtype} takes ${byteLength} ${at}`);
  }
  return { name, type: dtype, shape, offset: dataStart + begin, byteLength };
}

/** Every byte of the data section belongs to exactly one tensor. */
function checkCoverage(file: string, infos: readonly TensorInfo[], dataStart: number, fileSize: number): void {
  let at = dataStart;
  for (const { name, offset, byteLength } of infos) {
    if (offset < at)
      throw new FileError(`${file}: tensor ${quote(name)} overlaps another one at offset ${offset}. ${DAMAGED}`);
    if (offset > at) {
      throw new FileError(
        `${file}: ${offset - at} bytes at offset ${at}, before tensor ${quote(name)}, belong to no tensor. ${DAMAGED}`,
      );
    }
    at = offset + byteLength;
  }
  if (at !== fileSize) {
    throw new FileError(
      `${file}: ${fileSize - at} bytes at offset ${at}, after the last tensor, belong to no tensor. ${DAMAGED}`,
    );
  }
}
