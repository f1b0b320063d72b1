import type { Scratch } from '../../../src/gpu/scratch.ts';
import {
  allocateWeight,
  type BufferView,
  dequantizeStep,
  type Format,
  formatByName,
  type Gpu,
  quantizeSteps,
  type Step,
  scaleRoomBytes,
  type Weight,
} from '../../../src/index.ts';
import { packSparseStep, unpackSparseStep } from '../../../src/kernels/pack-sparse.ts';
import { type DenseRows, matrixError } from '../../../src/passes/methods/matrix-error.ts';
import { type Method, startOf } from '../../../src/passes/methods/method.ts';
import type { Packing } from './knobs.ts';

const F32 = formatByName('f32');

/** How a matrix is rounded. */
export interface Rounds {
  readonly format: Format;
  readonly method: Method;
  /** Columns are weighed, all alike: the engine does so where it writes a matrix by itself, as pruned ones. */
  readonly weighs: boolean;
}

/** What a pattern keeps of a matrix, one value behind the other, and where each stood. */
export interface Kept {
  readonly values: DenseRows;
  readonly columns: BufferView;
}

/** Rounds matrices on the GPU as the engine does, and puts what the codes stand for where they are looked at. */
export class Rounding {
  readonly #gpu: Gpu;
  readonly #name: string;
  #weight: Weight | undefined;

  constructor(gpu: Gpu, name: string) {
    this.#gpu = gpu;
    this.#name = name;
  }

  /** A matrix becomes what its codes stand for. */
  async inPlace(dense: DenseRows, rounds: Rounds, scratch: Scratch): Promise<void> {
    const { view, rows, k } = dense;
    const weight = this.#weightOf(rounds.format, rows, k);
    const steps = this.#steps(dense, rounds, weight, scratch);
    await this.#gpu.scheduler.run([...steps, this.#expand(weight, view, scratch)]);
  }

  /** What a mask keeps, packed. @param from [rows, k] */
  async keep(from: DenseRows, mask: BufferView, { pattern, values, layout }: Packing, scratch: Scratch): Promise<Kept> {
    const { view, rows, k } = from;
    const { slots, bands, words } = layout(rows, k);
    const kept = { view: scratch.room(4 * rows * slots, 'kept weights'), rows, k: slots };
    const columns = scratch.room(4 * bands * words, 'columns');
    const to = { format: F32, values: [kept.view], columns, becomes: values };
    await this.#gpu.scheduler.run([packSparseStep({ source: F32, from: view, mask, pattern, rows, k, ...to })]);
    return { values: kept, columns };
  }

  /** Rounds what was kept and puts it back where it stood, zeros between it. @param to f32 [rows, k] */
  async packed(kept: Kept, packing: Packing, rounds: Rounds, k: number, to: BufferView, scratch: Scratch) {
    const { rows, k: slots } = kept.values;
    const weight = this.#weightOf(packing.values, rows, slots);
    await this.#gpu.scheduler.run([
      ...this.#steps(kept.values, { ...rounds, format: packing.values }, weight, scratch),
      this.#unpack(weight, kept, packing, k, to),
    ]);
  }

  /**
   * Whether rounding to nearest loses less than the method did when it rounded last. If so its codes are there in place of the method's.
   * @param dense what was rounded, as it was before
   */
  async fallsBack(dense: DenseRows, rounds: Rounds, scratch: Scratch): Promise<boolean> {
    const { format, method } = rounds;
    const chosen = this.#weight;
    if (!chosen || method === 'rtn' || format.kind !== 'block') return false;
    const { rows, k } = dense;
    const nearest = allocateWeight(this.#gpu, format, rows, k, 'codes');
    const errorOf = ({ parts }: Weight) =>
      matrixError(this.#gpu, { dense, quantized: { format, arrays: parts[0]!.arrays } });
    let taken = chosen;
    try {
      await this.#gpu.scheduler.run(this.#steps(dense, { ...rounds, method: 'rtn', weighs: false }, nearest, scratch));
      if ((await errorOf(nearest)) < (await errorOf(chosen))) taken = nearest;
      return taken === nearest;
    } finally {
      (taken === nearest ? chosen : nearest).release();
      this.#weight = taken;
    }
  }

  /** Puts the codes that are there where they are looked at. */
  async show(to: BufferView, k: number, scratch: Scratch, packed?: { kept: Kept; packing: Packing }): Promise<void> {
    const weight = this.#weight;
    if (!weight) return;
    const step = packed ? this.#unpack(weight, packed.kept, packed.packing, k, to) : this.#expand(weight, to, scratch);
    await this.#gpu.scheduler.run([step]);
  }

  #steps({ view, rows, k }: DenseRows, { format, method, weighs }: Rounds, to: Weight, scratch: Scratch): Step[] {
    const bad = this.#bad(scratch);
    const size = scaleRoomBytes(format, rows, k);
    const start = startOf(method, format);
    return quantizeSteps({
      ...{ source: F32, from: view, format, to: to.parts[0]!.arrays, rows, k, bad, name: this.#name },
      ...(format.kind === 'block' && { method: start.method }),
      ...(weighs && start.weighted && { importance: scratch.upload(new Float32Array(k).fill(1), 'importance') }),
      ...(size > 0 && { scaleRoom: scratch.room(size, 'scales') }),
    });
  }

  #expand({ format, parts, rows, k }: Weight, to: BufferView, scratch: Scratch): Step {
    return dequantizeStep({ format, from: parts[0]!.arrays, target: F32, to, rows, k, bad: this.#bad(scratch) });
  }

  #unpack({ format, parts, rows }: Weight, { columns }: Kept, { pattern }: Packing, k: number, to: BufferView): Step {
    return unpackSparseStep({ values: parts[0]!.arrays, columns, format, pattern, rows, k, to });
  }

  /** The weights are finite: they were checked when they were read. */
  #bad(scratch: Scratch): BufferView {
    const bad = scratch.room(4, 'bad');
    this.#gpu.clear(bad.buffer, 4);
    return bad;
  }

  /** Room for the codes: kept while a knob moves that does not change its size. */
  #weightOf(format: Format, rows: number, k: number): Weight {
    const last = this.#weight;
    if (last?.format === format && last.rows === rows && last.k === k) return last;
    last?.release();
    this.#weight = undefined;
    this.#weight = allocateWeight(this.#gpu, format, rows, k, 'codes');
    return this.#weight;
  }

  release(): void {
    this.#weight?.release();
    this.#weight = undefined;
  }
}
