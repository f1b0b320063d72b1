import { checkCancelled } from '../files/cancel.ts';
import { type BlockLayout, type BlockLists, listWords } from '../formats/block-layout.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes, contentBytes, greatestCommonDivisor } from '../formats/layout.ts';
import type { SparseLayout } from '../formats/packed-layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
import type { Graph } from '../graph/graph.ts';
import { randomUniform } from '../graph/reference/random.ts';
import { quantizeSteps, scaleRoomBytes } from '../kernels/quantize.ts';
import { allocateWeight, type Weight } from '../kernels/weight.ts';
import { matrixShape } from '../passes/stored-weight.ts';
import { releaseWeights } from './with-decoder.ts';

/** Random weights that are repeated over the rows of every matrix: their values do not matter to speed, and making each anew would take long. */
export const RANDOM_WEIGHTS = 2 ** 20;

/** Rows of a block of random weights, so that copies of it start on whole words. */
export const blockRows = (k: number): number => Math.floor(RANDOM_WEIGHTS / k / 8) * 8;

/** The width of rows that fill the stored blocks of a block-sparse matrix: what one holds may be more than a block of random weights does. */
export const widthOfValues = ({ values, layout }: NonNullable<Format['blocks']>): number =>
  greatestCommonDivisor(layout.slots, 64 * Math.max(16, values.block));

/** Makes weights from one block of random numbers, on the GPU. */
export class WeightMaker {
  readonly #gpu: Gpu;
  readonly #signal: AbortSignal | undefined;
  readonly #made: Weight[] = [];
  readonly #random: Weight;
  readonly #bad: BufferView;
  /** The block in each format, as matrices of each width. */
  readonly #blocks = new Map<string, Weight>();

  constructor(gpu: Gpu, signal?: AbortSignal) {
    this.#gpu = gpu;
    this.#signal = signal;
    this.#random = allocateWeight(gpu, formatByName('f32'), 1, RANDOM_WEIGHTS, 'random weights');
    try {
      this.#bad = { buffer: gpu.memory.allocate(4, 'bad weight') };
    } catch (error) {
      this.#random.release();
      throw error;
    }
    const values = Float32Array.from({ length: RANDOM_WEIGHTS }, (_, i) => (randomUniform(0, i) - 0.5) / 16);
    gpu.upload(this.#random.parts[0]!.arrays[0]!.buffer, new Uint8Array(values.buffer));
  }

  /** @param formatOf by role and size, of which block-sparse formats have one */
  async make(
    weights: Graph['weights'],
    formatOf: (role: string, size: { readonly rows: number; readonly k: number }) => Format,
  ): Promise<Map<string, Weight>> {
    const result = new Map<string, Weight>();
    for (const { name, shape, role } of weights) {
      checkCancelled(this.#signal, 'The speed measurement');
      const { rows, k } = matrixShape(shape);
      const block = await this.block(formatOf(role, { rows, k }), k);
      // In an error scope of its own, so that a GPU that is full says so.
      await this.#gpu.guard('Synthetic layers', () => {
        const weight = allocateWeight(this.#gpu, block.format, rows, k, name);
        this.#made.push(weight);
        result.set(name, weight);
        fillWeight(this.#gpu, weight, block);
      });
    }
    return result;
  }

  /** The block of random weights in a format, as a matrix of `blockRows(k)` rows: its own until `release`. */
  async block(format: Format, k: number): Promise<Weight> {
    const { blocks } = format;
    const key = `${format.name} ${k} ${blocks ? `${blocks.rows} ${blocks.kept}` : ''}`;
    const known = this.#blocks.get(key);
    if (known) return known;
    const block = allocateWeight(this.#gpu, format, blocks?.rows ?? blockRows(k), k, 'random weights');
    this.#made.push(block);
    if (blocks) {
      const { values, layout, kept } = blocks;
      const [part] = block.parts;
      const width = widthOfValues(blocks);
      const rows = (kept * layout.slots) / width;
      const all = { rowStart: 0, rows, arrays: part!.arrays };
      const random = await this.block(values, width);
      fillWeight(this.#gpu, { ...block, format: values, rows, k: width, parts: [all] }, random);
      const { buffer, offset } = part!.arrays.at(-1)!;
      this.#gpu.upload(buffer, new Uint8Array(listWords(evenLists(layout, kept)).buffer), offset);
      this.#blocks.set(key, block);
      return block;
    }
    const { packed } = format;
    if (packed) {
      const layout = packed.layout(block.rows, k);
      const values = await this.block(packed.values, layout.slots);
      const [part] = block.parts;
      fillWeight(this.#gpu, { ...block, format: packed.values, k: layout.slots }, values);
      const { buffer, offset, size } = part!.arrays.at(-1)!;
      this.#gpu.upload(buffer, new Uint8Array(firstOfGroups(layout, size! / 4).buffer), offset);
      this.#blocks.set(key, block);
      return block;
    }
    const room = scaleRoomBytes(format, block.rows, k);
    const buffer = room > 0 ? this.#gpu.memory.allocate(room, 'random scales') : undefined;
    try {
      await this.#gpu.scheduler.run(
        block.parts.flatMap((part) =>
          quantizeSteps({
            source: this.#random.format,
            from: this.#random.parts[0]!.arrays[0]!,
            format,
            to: part.arrays,
            rows: part.rows,
            k,
            bad: this.#bad,
            name: 'random weights',
            scaleRoom: buffer && { buffer },
          }),
        ),
      );
    } finally {
      if (buffer) this.#gpu.memory.release(buffer);
    }
    this.#blocks.set(key, block);
    return block;
  }

  release(): void {
    releaseWeights([...this.#made, this.#random]);
    this.#gpu.memory.release(this.#bad.buffer);
  }
}

/** Copies the block's arrays, again and again, until those of the weight are full; a block has one part. */
export function fillWeight(gpu: Gpu, { format, k, parts }: Weight, block: Weight): void {
  const encoder = gpu.device.createCommandEncoder({ label: 'synthetic weights' });
  const { rows, arrays: from } = block.parts[0]!;
  for (const part of parts) {
    for (const [i, array] of format.arrays.entries()) {
      const to = part.arrays[i]!;
      const [once, all] = [contentBytes(array, rows, k), arrayBytes(array, part.rows, k)];
      for (let at = 0; at < all; at += once) {
        const count = Math.min(once, all - at);
        encoder.copyBufferToBuffer(from[i]!.buffer, from[i]!.offset ?? 0, to.buffer, (to.offset ?? 0) + at, count);
      }
    }
  }
  gpu.device.queue.submit([encoder.finish()]);
}

/** Lists of so many blocks, spread over a matrix. */
function evenLists({ down, across }: BlockLayout, kept: number): BlockLists {
  const at = Array.from({ length: kept }, (_, i) => Math.floor((i * down * across) / kept));
  const rowStarts = new Uint32Array(down + 1);
  for (const block of at) rowStarts[Math.floor(block / across) + 1]!++;
  for (let row = 0; row < down; row++) rowStarts[row + 1]! += rowStarts[row]!;
  return { rowStarts, columns: Uint32Array.from(at, (block) => block % across) };
}

/** The places of slots that stand for the first columns of their groups, in so many words. */
function firstOfGroups({ keep, bits, slots, words }: SparseLayout, count: number): Uint32Array {
  const band = new Uint32Array(words);
  for (let slot = 0; slot < slots; slot++) {
    const bit = slot * bits;
    band[bit >> 5]! |= (slot % keep) << (bit & 31);
  }
  return Uint32Array.from({ length: count }, (_, i) => band[i % words]!);
}
