import { ArgumentError, FileError, ModelError } from '../../errors.ts';
import { checkCancelled } from '../../files/cancel.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import { decodeToF32, encodeBf16, encodeF16 } from '../../files/convert.ts';
import { ELEMENT_BYTES } from '../../files/element-type.ts';
import type { GgufFile } from '../../files/gguf/read.ts';
import { findTensor, type TensorInfo } from '../../files/safetensors-read.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import { factoredNode, type WeightTree } from '../../files/weight-tree.ts';
import { nonFinite } from '../../formats/checks.ts';
import type { Graph, WeightName } from '../../graph/graph.ts';
import { MAX_HADAMARD_BLOCK } from '../../kernels/hadamard.ts';
import { modelGraph } from '../model-graph.ts';
import { chunkRows, denseFormatOf, matrixShape, weightsInFile } from '../stored-weight.ts';
import { type ResidualStream, residualStream, type Turn } from './residual-stream.ts';
import { columnSigns, largestBlock, type Rotation } from './rotation.ts';
import { type Folded, STRIP, turnColumns, turnRows } from './turn.ts';

/** Others get the thread at least this often. */
const YIELD_MILLISECONDS = 30;

/** A tensor of the rotated model. */
interface View {
  readonly info: TensorInfo;
  /** Of the original. */
  readonly source: TensorInfo;
  /** Undefined: the same. */
  readonly turn: Turn | undefined;
}

/** Rows of the tensor that was read last, as bytes: rows of a block are mixed, so that what follows is there already. */
interface Held {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/**
 * A model with its residual stream in another basis, as a checkpoint: r becomes H D r, D being random signs and H a Hadamard matrix for each block of
 * columns, the largest that is a power of two. Scales of norms move into the matrices behind them, a tied head is a tensor of its own, and with `inner` rows of the matrices that read inner activations of FFNs are turned, too, as
 * the graph's new operations turn what they multiply. What the model computes stays the same but for rounding: folded in f64, linear matrices are
 * f32, embedding and head keep their type. Folded when read: rows of a matrix that writes to the stream are read a block of rows at a time.
 * Source: Ashkboos et al., "QuaRot", 2024, section 4; R1 of Liu et al., "SpinQuant", 2024.
 */
export class RotatedCheckpoint implements Checkpoint {
  readonly name: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tree: WeightTree;
  readonly config: JsonObject;
  readonly gguf?: GgufFile;
  /** Columns of the residual stream that are turned together, and of inner activations; undefined: those are not. */
  readonly block: number;
  readonly innerBlock: number | undefined;
  readonly #source: Checkpoint;
  readonly #stream: ResidualStream;
  readonly #signs: Float64Array;
  readonly #views = new Map<string, View>();
  #held: Held | undefined;
  #scale: { readonly norm: WeightName; readonly values: Float64Array } | undefined;

  /**
   * Owns `source`, unless it throws.
   * @throws ModelError for a model that can't be rotated; FileError where it is compressed or rotated already; ArgumentError for a seed that is none
   */
  constructor(source: Checkpoint, graph: Graph, { seed, inner = false }: Rotation) {
    const { name, config, tree } = source;
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
      throw new ArgumentError(`The seed of the rotation is ${seed}; give a whole number from 0 to ${2 ** 32 - 1}.`);
    }
    if (!config)
      throw new ArgumentError(`${name}: bare tensors can't be rotated, since nothing says how they are used.`);
    if (tree?.graph?.rotation || tree?.graph?.hadamard) {
      throw new FileError(`${name}: it is rotated already. Rotate the original model instead.`);
    }
    const factored = [...(tree?.weights ?? [])].find(([, node]) => factoredNode(node));
    if (factored) {
      throw new FileError(`${name}: ${quote(factored[0])} is made of factors. Rotate the original model first.`);
    }
    this.#source = source;
    this.#stream = residualStream(graph, name);
    const { width, innerWidth } = this.#stream;
    this.block = blockOf(width, name, 'hidden size');
    if (inner && innerWidth === undefined) {
      throw new ModelError(`${name}: its FFNs have no inner activations of one width. Leave their rotation out.`);
    }
    this.innerBlock = inner ? Math.min(blockOf(innerWidth!, name, 'FFN size'), MAX_HADAMARD_BLOCK) : undefined;
    this.#signs = columnSigns(seed, width);
    this.name = name;
    this.bytes = source.bytes;
    this.metadata = source.metadata;
    if (source.gguf) this.gguf = source.gguf;
    this.config = { ...config, tie_word_embeddings: false };
    this.tree = {
      version: 1,
      weights: new Map(),
      graph: {
        rotation: { seed, block: this.block },
        ...(this.innerBlock !== undefined && { hadamard: { ffn: this.innerBlock } }),
      },
    };
    this.#lay(graph);
    this.tensors = new Map([...this.#views].map(([tensor, { info }]) => [tensor, info]));
  }

  /** Bytes that reading holds besides what it returns: the most that a block of rows takes. */
  get foldBytes(): number {
    return Math.max(
      0,
      ...[...this.#views.values()].map(({ turn, info }) =>
        turn?.writes ? 4 * this.block * matrixShape(info.shape).k : 0,
      ),
    );
  }

  /** Bytes of a tensor as the original stores it; 0 for a head that it lacks. */
  bytesBefore(name: string): number {
    return this.#source.tensors.get(name)?.byteLength ?? 0;
  }

  async read(
    tensor: string | TensorInfo,
    rowStart = 0,
    rowCount?: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { name } = findTensor(this.name, this.tensors, tensor);
    const { info, source, turn } = this.#views.get(name)!;
    if (!turn) return this.#source.read(source, rowStart, rowCount, signal);
    const total = info.shape[0] ?? 1;
    const rows = rowCount ?? total - rowStart;
    const valid = Number.isSafeInteger(rowStart) && Number.isSafeInteger(rows) && rowStart >= 0 && rows >= 0;
    if (!valid || rows > total - rowStart) {
      throw new ArgumentError(
        `${this.name}: tensor ${quote(name)} has ${total} rows; ${rows} from row ${rowStart} are not among them.`,
      );
    }
    const rowBytes = info.byteLength / total;
    const cut = ({ start, bytes }: Held) =>
      bytes.slice((rowStart - start) * rowBytes, (rowStart - start + rows) * rowBytes);
    const held = this.#held;
    if (held?.name === name && held.start <= rowStart && rowStart + rows <= held.end) return cut(held);
    const unit = turn.writes ? this.block : 1;
    const start = Math.floor(rowStart / unit) * unit;
    const end = Math.ceil((rowStart + rows) / unit) * unit;
    // Before the next is made.
    this.#held = undefined;
    const values = new Float32Array((end - start) * matrixOf(info).k);
    await this.fold(name, start, values, signal);
    const bytes = encode(values, info);
    if (start === rowStart && end === rowStart + rows) return bytes;
    this.#held = { name, start, end, bytes };
    return cut(this.#held);
  }

  /**
   * Fills `values` with rows of a tensor from `start` on, before they are rounded to its type. Of a matrix or bias that writes to the stream, whole blocks.
   * @throws NonFiniteError that names the tensor; FileError, CancelledError
   */
  async fold(name: string, start: number, values: Folded, signal?: AbortSignal): Promise<void> {
    const { source, turn = {} } = this.#views.get(name)!;
    const { k } = matrixOf(source);
    if (turn.neutral) {
      values.fill(1 - turn.neutral.offset);
      return;
    }
    const rest = resting(signal);
    const rows = values.length / k;
    const step = chunkRows(4 * k);
    for (let row = 0; row < rows; row += step) {
      const count = Math.min(step, rows - row);
      values.set(await this.#original(source, start + row, count, signal), row * k);
    }
    const scale = turn.norm && (await this.#scaleOf(turn.norm, signal));
    const aRow = (row: number) => values.subarray(row * k, (row + 1) * k);
    for (let row = 0; row < rows; row++) {
      if (turn.reads) turnRows(aRow(row), k, this.block, { signs: this.#signs, scale });
      if (turn.inner && this.innerBlock !== undefined) turnRows(aRow(row), k, this.innerBlock);
      await rest();
    }
    if (!turn.writes) return;
    const signs = this.#signs.subarray(start, start + rows);
    for (let column = 0; column < k; column += STRIP) {
      turnColumns(values, k, this.block, signs, column);
      await rest();
    }
  }

  async fileBytes(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (name !== 'config.json') return this.#source.fileBytes(name);
    return new TextEncoder().encode(`${JSON.stringify(this.config, undefined, 2)}\n`);
  }

  close(): Promise<void> {
    this.#held = undefined;
    return this.#source.close();
  }

  /** Lays out the tensors: all of the original, and a head where that has none. @throws FileError */
  #lay(graph: Graph): void {
    const { turns, tiedHead } = this.#stream;
    const roles = new Map(graph.weights.map(({ name, role }) => [name, role]));
    for (const [name, weight] of weightsInFile(this.#source)) {
      if (weight.kind !== 'dense') {
        const format = weight.kind === 'quantized' ? weight.format.name : weight.type;
        throw new FileError(
          `${this.name}: ${quote(name)} is ${format}: only a model that is not compressed can be rotated. Rotate the original.`,
        );
      }
      const turn = turns.get(name);
      const role = roles.get(name);
      this.#add(
        name,
        weight.info,
        turn && this.#changes(turn) ? turn : undefined,
        role !== 'linear' && role !== 'bias',
      );
    }
    if (!tiedHead) return;
    // What a tied model has under that name is of no use to it.
    const head = modelGraph(this).operations.at(-1)!;
    if (head.op !== 'linear') return;
    this.#add(head.weight, this.#views.get(tiedHead.weight)!.source, tiedHead.turn, true);
  }

  #changes = ({ reads, writes, neutral, inner }: Turn): boolean =>
    (reads ?? writes ?? neutral) !== undefined || (inner === true && this.innerBlock !== undefined);

  #add(name: string, source: TensorInfo, turn: Turn | undefined, ownType: boolean): void {
    if (!turn) {
      this.#views.set(name, { info: { ...source, name }, source, turn });
      return;
    }
    const { offset, shape } = source;
    const type = ownType && denseFormatOf(source.type) ? source.type : 'F32';
    const byteLength = (source.byteLength / ELEMENT_BYTES[source.type]) * ELEMENT_BYTES[type];
    this.#views.set(name, { info: { name, type, shape, offset, byteLength }, source, turn });
  }

  /** @throws NonFiniteError, since what is mixed with such a value can't be told from it any more */
  async #original(info: TensorInfo, start: number, rows: number, signal?: AbortSignal): Promise<Float32Array> {
    const values = decodeToF32(await this.#source.read(info, start, rows, signal), info.type);
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad < 0) return values;
    if (info.shape.length < 2) throw nonFinite(start + bad, info.shape[0] ?? 1, undefined, info.name);
    const { k } = matrixOf(info);
    throw nonFinite(start * k + bad, k, undefined, info.name);
  }

  /** What a norm multiplies columns by. */
  async #scaleOf({ weight, offset }: NonNullable<Turn['norm']>, signal?: AbortSignal): Promise<Float64Array> {
    if (this.#scale?.norm !== weight) {
      const info = this.#views.get(weight)!.source;
      const stored = await this.#original(info, 0, info.shape[0]!, signal);
      this.#scale = { norm: weight, values: Float64Array.from(stored, (value) => value + offset) };
    }
    return this.#scale.values;
  }
}

/** Rows as they are read: those of a vector are its elements. */
const matrixOf = ({ shape }: TensorInfo): { readonly k: number } => (shape.length < 2 ? { k: 1 } : matrixShape(shape));

/** @throws ModelError */
function blockOf(width: number, name: string, what: string): number {
  const block = largestBlock(width);
  if (block > 1) return block;
  throw new ModelError(
    `${name}: its ${what} of ${width} is odd, so no Hadamard matrix rotates it. Leave the rotation out.`,
  );
}

/** @throws NonFiniteError for a value too large for the type */
function encode(values: Float32Array<ArrayBuffer>, { type, name }: TensorInfo): Uint8Array<ArrayBuffer> {
  if (type === 'F16') return encodeF16(values, name);
  return type === 'BF16' ? encodeBf16(values, name) : new Uint8Array(values.buffer);
}

/** Lets others have the thread now and then. @throws CancelledError */
function resting(signal: AbortSignal | undefined): () => Promise<void> | undefined {
  let rested = performance.now();
  return () => {
    if (performance.now() - rested <= YIELD_MILLISECONDS) return undefined;
    checkCancelled(signal, 'Rotating the model');
    return new Promise((resolve) => {
      setTimeout(() => {
        rested = performance.now();
        resolve();
      });
    });
  };
}
