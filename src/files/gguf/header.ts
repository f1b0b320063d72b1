import { FileError } from '../../errors.ts';
import { checkCancelled } from '../cancel.ts';
import { elementCount } from '../element-type.ts';
import type { ByteSource } from '../source.ts';
import { quote, reason } from '../text.ts';
import { type GgmlType, ggmlTypeById } from './ggml-types.ts';
import { DEFAULT_ALIGNMENT, MAX_ALIGNMENT } from './limits.ts';
import { type ArraySpan, scanHeader } from './scan.ts';
import { ValueType } from './value-types.ts';

/** A value of the metadata that is no array. */
export interface GgufScalar {
  readonly type: ValueType;
  readonly value: number | bigint | boolean | string;
}

/** What a file says about one tensor, checked. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgmlType;
  /** Row-major, the last dimension contiguous: the reverse of what the file lists. */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A parsed header. */
export interface GgufHeader {
  readonly scalars: ReadonlyMap<string, GgufScalar>;
  readonly arrays: ReadonlyMap<string, ArraySpan>;
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const DAMAGED = 'The file is damaged or was written wrongly; download or convert it again.';

/**
 * Reads and checks the header of a GGUF file: structure first (`scanHeader`), then the parser, then what tensors claim.
 * @throws FileError that names the file, the tensor and the offset
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<GgufHeader> {
  const { reduced, arrays, end } = await scanHeader(source, signal);
  const { typedMetadata, tensorInfos } = await parse(source.name, reduced);
  checkCancelled(signal);
  const scalars = new Map<string, GgufScalar>();
  for (const [key, { type, value }] of Object.entries(typedMetadata)) {
    if (value !== undefined && !arrays.has(key) && !Array.isArray(value))
      scalars.set(key, { type: type as ValueType, value });
  }
  const alignment = alignmentOf(source.name, scalars);
  const dataStart = Math.ceil(end / alignment) * alignment;
  const tensors = tensorInfos.map((info) => checkTensor(source, info, dataStart, alignment));
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  checkCoverage(source, tensors, dataStart, alignment, end);
  return { scalars, arrays, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

/** Runs the parser over a header in memory, which it asks for as if it were remote. */
async function parse(file: string, bytes: Uint8Array<ArrayBuffer>) {
  // Loaded where it is needed: it is larger than all the rest of Compressa's readers.
  const { gguf } = await import('@huggingface/gguf');
  const serve = async (_url: unknown, init?: RequestInit): Promise<Response> => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get('range') ?? '')!;
    return new Response(bytes.slice(Number(first), Number(last) + 1), {
      status: 206,
      headers: { 'content-range': `bytes ${first}-${last}/${bytes.byteLength}` },
    });
  };
  try {
    return await gguf('https://header.invalid/', { fetch: serve as typeof fetch, typedMetadata: true });
  } catch (error) {
    throw new FileError(`${file}: the header can't be parsed: ${quote(reason(error))}. ${DAMAGED}`, { cause: error });
  }
}

function alignmentOf(file: string, scalars: ReadonlyMap<string, GgufScalar>): number {
  const entry = scalars.get('general.alignment');
  if (!entry) return DEFAULT_ALIGNMENT;
  const { type, value } = entry;
  const valid =
    type === ValueType.UINT32 &&
    typeof value === 'number' &&
    value >= 1 &&
    value <= MAX_ALIGNMENT &&
    Number.isInteger(Math.log2(value));
  if (!valid) {
    throw new FileError(
      `${file}: general.alignment is ${quote(String(value))}; it must be a power of two up to ${MAX_ALIGNMENT}. ${DAMAGED}`,
    );
  }
  return value;
}

interface RawTensor {
  readonly name: string;
  /** As in the file: the contiguous dimension first. */
  readonly shape: readonly bigint[];
  readonly dtype: number;
  /** From the start of the data. */
  readonly offset: bigint;
}

function checkTensor(source: ByteSource, raw: RawTensor, dataStart: number, alignment: number): GgufTensor {
  const { name, dtype, offset: relative } = raw;
  const at = `(shape [${[...raw.shape].reverse()}], data at offset ${BigInt(dataStart) + relative})`;
  const fail = (problem: string, fix = DAMAGED): never => {
    throw new FileError(`${source.name}: tensor ${quote(name)} ${problem} ${at}. ${fix}`);
  };
  const type = ggmlTypeById(dtype) ?? fail(`has the unknown type ${dtype}`, 'Convert it with a current llama.cpp.');
  const shape = raw.shape.map(Number).reverse();
  if (shape.includes(0)) fail('has a dimension of 0');
  const count = shape.every(Number.isSafeInteger) ? elementCount(shape) : undefined;
  if (count === undefined) return fail('has an absurd size');
  if (shape.at(-1)! % type.block !== 0) {
    fail(`has rows of ${shape.at(-1)}, which blocks of ${type.block} (${type.name}) do not divide`);
  }
  const byteLength = (count / type.block) * type.bytes;
  if (!Number.isSafeInteger(byteLength)) fail('has an absurd size');
  if (relative % BigInt(alignment) !== 0n) fail(`does not start at a multiple of ${alignment}`);
  if (relative > BigInt(source.size) || byteLength > source.size - dataStart - Number(relative)) {
    fail(
      `takes ${byteLength} bytes and reaches beyond the file's ${source.size}`,
      'The file is truncated; download it again.',
    );
  }
  return { name, type, shape, offset: dataStart + Number(relative), byteLength };
}

/** Every byte of the data belongs to one tensor or pads it up to the alignment. */
function checkCoverage(
  source: ByteSource,
  tensors: readonly GgufTensor[],
  dataStart: number,
  alignment: number,
  headerEnd: number,
): void {
  let at = dataStart;
  let last = headerEnd;
  for (const { name, offset, byteLength } of tensors) {
    if (offset < at) {
      throw new FileError(`${source.name}: tensor ${quote(name)} overlaps another one at offset ${offset}. ${DAMAGED}`);
    }
    if (offset > at) {
      throw new FileError(
        `${source.name}: ${offset - at} bytes at offset ${at}, before tensor ${quote(name)}, belong to no tensor. ${DAMAGED}`,
      );
    }
    last = offset + byteLength;
    at = Math.ceil(last / alignment) * alignment;
  }
  if (source.size > at) {
    throw new FileError(
      `${source.name}: ${source.size - last} bytes at offset ${last}, after the last tensor, belong to no tensor. ${DAMAGED}`,
    );
  }
}
