import { ArgumentError, FileError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { GgufFile } from '../../files/gguf/read.ts';
import { findTensor, type TensorInfo } from '../../files/safetensors-read.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import type { WeightTree } from '../../files/weight-tree.ts';
import { chunkRows, denseFormatOf } from '../stored-weight.ts';
import type { Coupling } from './couplings.ts';

/** What is left of a tensor. */
interface Cut {
  readonly coupling: Coupling;
  readonly axis: 'rows' | 'columns';
  /** Rows or columns of a unit. */
  readonly size: number;
}

/**
 * A model with units of its layers removed, as a checkpoint: smaller tensors, and a config with smaller numbers. How many units stay is known from the
 * start, which ones once they are chosen (`keep`); until then the first stand for them.
 */
export class NarrowCheckpoint implements Checkpoint {
  readonly name: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tree: WeightTree | undefined;
  readonly opaque: Checkpoint['opaque'] & {};
  readonly config: JsonObject;
  readonly gguf?: GgufFile;
  readonly #source: Checkpoint;
  readonly #cuts = new Map<string, Cut>();
  readonly #kept = new Map<Coupling, Uint32Array>();
  readonly #refitted = new Map<string, Uint8Array>();

  /**
   * Owns `source`, unless it throws.
   * @param left units of each layer that stay
   * @param config the numbers of the config that change
   * @throws FileError where a tensor that gets smaller is not stored as plain floats
   */
  constructor(source: Checkpoint, left: ReadonlyMap<Coupling, number>, config: JsonObject) {
    this.#source = source;
    this.name = source.name;
    this.bytes = source.bytes;
    this.metadata = source.metadata;
    this.tree = source.tree;
    this.opaque = source.opaque ?? new Map();
    if (source.gguf) this.gguf = source.gguf;
    this.config = { ...source.config, ...config };
    for (const [coupling, count] of left) {
      this.#kept.set(
        coupling,
        Uint32Array.from({ length: count }, (_, unit) => unit),
      );
      this.#cuts.set(coupling.reader, { coupling, axis: 'columns', size: coupling.columns });
      for (const { name, rows } of coupling.makers) this.#cuts.set(name, { coupling, axis: 'rows', size: rows });
    }
    for (const { bias } of left.keys()) if (bias !== undefined) this.#check(bias);
    for (const name of this.#cuts.keys()) this.#check(name);
    this.tensors = new Map([...source.tensors].map(([name, info]) => [name, this.#narrowed(info)]));
  }

  /** Bytes of a tensor as the original stores it. */
  bytesBefore(name: string): number {
    return this.#source.tensors.get(name)?.byteLength ?? 0;
  }

  /**
   * Says which units stay.
   * @param units ascending, as many as were announced
   * @param changed the matrix that reads them, [rows, columns that stay], where it was fitted to them, and its bias, where that makes up for what went, in their own types
   */
  keep(
    coupling: Coupling,
    units: Uint32Array,
    { reader, bias }: { readonly reader?: Uint8Array; readonly bias?: Uint8Array } = {},
  ): void {
    if (units.length !== this.#kept.get(coupling)?.length) throw new Error('Another number of units was announced.');
    this.#kept.set(coupling, units);
    if (reader) this.#refitted.set(coupling.reader, reader);
    if (bias) this.#refitted.set(coupling.bias!, bias);
  }

  async read(
    tensor: string | TensorInfo,
    rowStart = 0,
    rowCount?: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const info = findTensor(this.name, this.tensors, tensor);
    const cut = this.#cuts.get(info.name);
    const refitted = this.#refitted.get(info.name);
    if (!cut && !refitted) return this.#source.read(info.name, rowStart, rowCount, signal);
    const total = info.shape[0]!;
    const rows = rowCount ?? total - rowStart;
    const valid = Number.isSafeInteger(rowStart) && Number.isSafeInteger(rows) && rowStart >= 0 && rows >= 0;
    if (!valid || rows > total - rowStart) {
      throw new ArgumentError(
        `${this.name}: tensor ${quote(info.name)} has ${total} rows; ${rows} from row ${rowStart} are not among them.`,
      );
    }
    const rowBytes = info.byteLength / total;
    if (refitted || !cut)
      return refitted!.slice(rowStart * rowBytes, (rowStart + rows) * rowBytes) as Uint8Array<ArrayBuffer>;
    const out = new Uint8Array(rows * rowBytes);
    const places = placesOf(this.#kept.get(cut.coupling)!, cut.size);
    if (cut.axis === 'rows') await this.#pickRows(info.name, places.subarray(rowStart, rowStart + rows), out, signal);
    else await this.#pickColumns(info.name, places, rowStart, out, signal);
    return out;
  }

  async fileBytes(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (name !== 'config.json') return this.#source.fileBytes(name);
    return new TextEncoder().encode(`${JSON.stringify(this.config, undefined, 2)}\n`);
  }

  close(): Promise<void> {
    this.#refitted.clear();
    return this.#source.close();
  }

  /** Reads what lies between the rows, too, but never more than a chunk at once. */
  async #pickRows(name: string, rows: Uint32Array, out: Uint8Array, signal?: AbortSignal): Promise<void> {
    const info = this.#source.tensors.get(name)!;
    const rowBytes = info.byteLength / info.shape[0]!;
    const most = chunkRows(rowBytes);
    for (let i = 0; i < rows.length; ) {
      const first = rows[i]!;
      let end = i + 1;
      while (end < rows.length && rows[end]! - first < most) end++;
      const bytes = await this.#source.read(name, first, rows[end - 1]! - first + 1, signal);
      for (; i < end; i++) {
        const at = (rows[i]! - first) * rowBytes;
        out.set(bytes.subarray(at, at + rowBytes), i * rowBytes);
      }
    }
  }

  async #pickColumns(name: string, columns: Uint32Array, start: number, out: Uint8Array, signal?: AbortSignal) {
    const { shape, byteLength } = this.#source.tensors.get(name)!;
    const [all, k] = shape as [number, number];
    const size = byteLength / all / k;
    const rowBytes = size * columns.length;
    const rows = out.byteLength / rowBytes;
    const most = chunkRows(size * k);
    const to = elementsOf(out, size);
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      const bytes = await this.#source.read(name, start + row, count, signal);
      const from = elementsOf(bytes, size);
      for (let r = 0; r < count; r++) {
        const at = (row + r) * columns.length;
        for (let i = 0; i < columns.length; i++) to[at + i] = from[r * k + columns[i]!]!;
      }
    }
  }

  #check(name: string): void {
    const info = this.#source.tensors.get(name);
    if (info && denseFormatOf(info.type) !== undefined && !this.tree?.weights.has(name)) return;
    const format = this.tree?.weights.get(name);
    const type =
      format?.kind === 'quantized' ? format.format : (this.opaque.get(name)?.type ?? info?.type ?? 'not there');
    throw new FileError(
      `${this.name}: ${quote(name)} is ${type}: only a model that is not compressed can be shrunk. Shrink the original, and compress it at the same time (--format).`,
    );
  }

  #narrowed(info: TensorInfo): TensorInfo {
    const cut = this.#cuts.get(info.name);
    if (!cut) return info;
    const width = this.#kept.get(cut.coupling)!.length * cut.size;
    const shape = cut.axis === 'rows' ? [width, ...info.shape.slice(1)] : [info.shape[0]!, width];
    const elements = (of: readonly number[]) => of.reduce((product, size) => product * size, 1);
    const byteLength = (info.byteLength / elements(info.shape)) * elements(shape);
    return { ...info, shape, byteLength };
  }
}

/** Rows or columns of units that have `size` each. */
export const placesOf = (units: Uint32Array, size: number): Uint32Array =>
  Uint32Array.from({ length: units.length * size }, (_, i) => units[Math.floor(i / size)]! * size + (i % size));

/** The elements of a type, which are moved as they are. */
function elementsOf(bytes: Uint8Array, size: number): Uint16Array | Uint32Array {
  const { buffer, byteOffset, byteLength } = byteAligned(bytes, size);
  return size === 4
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : new Uint16Array(buffer, byteOffset, byteLength / 2);
}

/** A source may give a part of a larger buffer. */
const byteAligned = (bytes: Uint8Array, size: number): Uint8Array =>
  bytes.byteOffset % size === 0 ? bytes : bytes.slice();
