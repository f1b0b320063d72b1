import { packParams, read, readWrite } from '../../../src/gpu/kernel.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import {
  allocateWeight,
  applyMaskStep,
  type BufferView,
  type Checkpoint,
  dequantizeStep,
  type Format,
  formatByName,
  type Gpu,
  maskWords,
  quantizeSteps,
  type Step,
  scaleRoomBytes,
  type Weight,
} from '../../../src/index.ts';
import { differenceStep, rowProductsStep } from '../../../src/kernels/rows.ts';
import { startOf } from '../../../src/passes/methods/method.ts';
import { maskedRows, maskSteps, selectionRoom } from '../../../src/passes/pruning/find-mask.ts';
import histogramSource from '../../shaders/histogram.wgsl';
import sumSource from '../../shaders/sum.wgsl';
import type { Knobs } from '../view-state.ts';
import { readDense, rowsTogether } from './dense-tensor.ts';
import { type Plan, planOf } from './knobs.ts';
import { LowRankProduct } from './low-rank-product.ts';
import type { TensorEntry } from './network.ts';
import { type PlanBytes, planBytes } from './plan-bytes.ts';
import { type Level, levelsOf, pyramidBytes, pyramidSteps } from './pyramid.ts';
import { joinSummary, SUMMARY_BYTES, type Summary, summaryStep } from './summary.ts';

export const BINS = 128;
const HISTOGRAM_BYTES = 4 * (2 + 2 * BINS);
/** Where counts begin, behind the sum of errors: bindings start at multiples of this. */
const COUNTS = 256;

/** Numbers about the tensor as it is compressed now. */
export interface Figures {
  readonly knobs: Knobs;
  readonly plan: Plan;
  readonly bytes: PlanBytes;
  /** ‖W − Ŵ‖² / ‖W‖² */
  readonly error: number;
  /** Whether the error was added up as the engine's reports do, in f64 over rows; else on the GPU. */
  readonly exact: boolean;
  /** Share of weights that are zero, before and after. */
  readonly zeros: readonly [number, number];
}

/** A tensor on the GPU, as it was and as the knobs make it, for all that shows it. */
export class TensorSession {
  readonly entry: TensorEntry;
  /** Rows that are here: all, or the first of a tensor that is too large. */
  readonly rows: number;
  readonly k: number;
  readonly before: BufferView;
  readonly after: BufferView;
  readonly levels: readonly Level[];
  readonly cells: BufferView;
  readonly summary: Summary;
  /** Counts what views have to draw anew. */
  version = 0;
  masked = false;
  figures: Figures | undefined;
  readonly #gpu: Gpu;
  readonly #scratch: Scratch;
  readonly #mask: BufferView;
  readonly #lost: BufferView;
  readonly #rowErrors: BufferView;
  readonly #live: BufferView;
  /** ‖W‖², as reports add it up. */
  #all = 0;
  readonly #lowRank: LowRankProduct;
  #weight: Weight | undefined;

  private constructor(
    gpu: Gpu,
    entry: TensorEntry,
    rows: number,
    scratch: Scratch,
    before: BufferView,
    summary: Summary,
  ) {
    const { k } = entry;
    this.#gpu = gpu;
    this.entry = entry;
    this.rows = rows;
    this.k = k;
    this.before = before;
    this.summary = summary;
    this.#scratch = scratch;
    this.levels = levelsOf(rows, k);
    this.after = scratch.room(4 * rows * k, 'after');
    this.cells = scratch.room(pyramidBytes(this.levels), 'pyramid');
    this.#mask = scratch.room(4 * maskWords(rows, k), 'mask');
    this.#lost = scratch.room(4 * rows * k, 'lost');
    this.#rowErrors = scratch.room(4 * rows, 'errors of rows');
    this.#live = scratch.room(COUNTS + HISTOGRAM_BYTES, 'figures');
    this.#lowRank = new LowRankProduct(gpu, { view: before, rows, k });
  }

  /** @throws FileError, NonFiniteError, OutOfMemoryError, DeviceLostError, CancelledError */
  static async open(gpu: Gpu, checkpoint: Checkpoint, entry: TensorEntry, signal: AbortSignal): Promise<TensorSession> {
    const { k } = entry;
    const rows = Math.max(1, Math.min(entry.rows, rowsTogether(gpu, k)));
    const scratch = new Scratch(gpu);
    try {
      const before = scratch.room(4 * rows * k, entry.name);
      await readDense(gpu, checkpoint, entry, { start: 0, count: rows }, before, signal);
      const parts = scratch.room(SUMMARY_BYTES, 'summary');
      await gpu.scheduler.run([summaryStep(before, rows * k, parts)]);
      const found = new Float32Array((await gpu.readBack(parts.buffer, 0, SUMMARY_BYTES)).buffer);
      const session = new TensorSession(gpu, entry, rows, scratch, before, joinSummary(found, rows * k));
      await gpu.scheduler.run([session.#products(before, session.#rowErrors)]);
      session.#all = await session.#sumOfRows();
      return session;
    } catch (error) {
      scratch.release();
      throw error;
    }
  }

  get mask(): BufferView {
    return this.#mask;
  }

  #products(values: BufferView, out: BufferView): Step {
    return rowProductsStep({ a: values, b: values, out, rows: this.rows, width: this.k });
  }

  async #sumOfRows(): Promise<number> {
    const rows = new Float32Array((await this.#gpu.readBack(this.#rowErrors.buffer, 0, 4 * this.rows)).buffer);
    return rows.reduce((sum, value) => sum + value, 0);
  }

  /**
   * Compresses the tensor as the knobs say, makes the pyramid anew and reads back a few hundred bytes of figures.
   * @throws FormatError, ArgumentError, RecipeError where the knobs do not go together; OutOfMemoryError, DeviceLostError, CancelledError
   */
  async compress(knobs: Knobs, signal?: AbortSignal): Promise<Figures> {
    const { rows, k, before, after } = this;
    const gpu = this.#gpu;
    const plan = planOf(knobs, rows, k);
    const scratch = new Scratch(gpu);
    try {
      if (plan.rank > 0) {
        const round = (view: BufferView, high: number, wide: number) => this.#round(view, high, wide, plan, scratch);
        await this.#lowRank.into(after, plan.rank, plan.format, round, signal);
      } else {
        copy(gpu, before, after, 4 * rows * k);
        this.masked = plan.pattern !== undefined;
        if (plan.pattern) {
          const matrix = {
            ...maskedRows(gpu, scratch, { view: after, rows, k }, plan.pattern, undefined),
            mask: this.#mask,
          };
          const apply = applyMaskStep({ format: formatByName('f32'), data: after, mask: this.#mask, rows, k });
          await gpu.scheduler.run([...maskSteps(matrix, plan.pattern, selectionRoom(scratch)), apply]);
        }
        if (plan.format) await this.#round(after, rows, k, plan, scratch);
      }
      if (plan.rank > 0) this.masked = false;
      gpu.clear(this.#live.buffer, COUNTS + HISTOGRAM_BYTES);
      await gpu.scheduler.run([
        ...pyramidSteps({
          before,
          after,
          mask: this.#mask,
          masked: this.masked,
          cells: this.cells,
          levels: this.levels,
          rows,
          k,
        }),
        differenceStep({ a: before, b: after, out: this.#lost, count: rows * k }),
        this.#products(this.#lost, this.#rowErrors),
        ...this.#figureSteps(),
      ]);
      this.version++;
      // The histogram stays where it is until somebody looks at it.
      const live = (await gpu.readBack(this.#live.buffer, 0, COUNTS + 8)).buffer;
      const [before0, after0] = new Uint32Array(live, COUNTS);
      this.figures = {
        ...{ knobs, plan, exact: false },
        bytes: planBytes(plan, this.entry.rows, k, this.entry.format),
        error: this.#all > 0 ? new Float32Array(live)[0]! / this.#all : 0,
        zeros: [before0! / (rows * k), after0! / (rows * k)],
      };
      return this.figures;
    } finally {
      scratch.release();
    }
  }

  /** The error as the engine's reports have it: a few kilobytes are read back, so this waits until the knobs rest. */
  async exactFigures(): Promise<Figures | undefined> {
    const { figures } = this;
    if (!figures || figures.exact) return figures;
    const error = await this.#sumOfRows();
    if (this.figures !== figures) return this.figures;
    this.figures = { ...figures, error: this.#all > 0 ? error / this.#all : 0, exact: true };
    return this.figures;
  }

  /** Weights in each of `BINS` ranges from −largest to largest, before and after. */
  async histograms(): Promise<[Uint32Array, Uint32Array]> {
    const counts = new Uint32Array((await this.#gpu.readBack(this.#live.buffer, COUNTS + 8, 8 * BINS)).buffer);
    return [counts.subarray(0, BINS), counts.subarray(BINS)];
  }

  #figureSteps(): Step[] {
    const count = this.rows * this.k;
    const histogram: BufferView = { buffer: this.#live.buffer, offset: COUNTS, size: HISTOGRAM_BYTES };
    const limit = this.summary.largest || 1;
    return [
      {
        label: 'sum of errors',
        kernel: { source: sumSource },
        bindings: [
          read({ ...this.#rowErrors, size: 4 * this.rows }),
          readWrite({ buffer: this.#live.buffer, size: 4 }),
        ],
        params: packParams(this.rows),
        grid: [1, 1, 1],
      },
      {
        label: 'histogram',
        kernel: { source: histogramSource },
        bindings: [read(this.before), read(this.after), readWrite(histogram)],
        params: packParams(count, { f32: limit }),
        grid: [Math.min(256, Math.ceil(count / 1024)), 1, 1],
      },
    ];
  }

  /** Quantizes a matrix and puts what the codes stand for in its place. */
  async #round(view: BufferView, rows: number, k: number, { format, method }: Plan, scratch: Scratch): Promise<void> {
    const gpu = this.#gpu;
    if (!format) return;
    const weight = this.#weightOf(format, rows, k);
    const [part] = weight.parts;
    const bad = scratch.room(4, 'bad');
    gpu.clear(bad.buffer, 4);
    const size = scaleRoomBytes(format, rows, k);
    const source = formatByName('f32');
    await gpu.scheduler.run([
      ...quantizeSteps({
        ...{ source, from: view, format, to: part!.arrays, rows, k, bad, name: this.entry.name },
        ...(format.kind === 'block' && { method: startOf(method, format).method }),
        ...(size > 0 && { scaleRoom: scratch.room(size, 'scales') }),
      }),
      dequantizeStep({ format, from: part!.arrays, target: source, to: view, rows, k, bad }),
    ]);
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

  /** Two weights and whether the mask left them: twelve bytes are read back. */
  async weightAt(row: number, column: number): Promise<{ before: number; after: number; kept: boolean }> {
    const at = 4 * (row * this.k + column);
    const word = 4 * (row * Math.ceil(this.k / 32) + Math.floor(column / 32));
    const [before, after, mask] = await this.#gpu.readBackAll([
      { ...this.before, offset: at, size: 4 },
      { ...this.after, offset: at, size: 4 },
      { ...this.#mask, offset: this.masked ? word : 0, size: 4 },
    ]);
    return {
      before: new Float32Array(before!.buffer)[0]!,
      after: new Float32Array(after!.buffer)[0]!,
      kept: !this.masked || ((new Uint32Array(mask!.buffer)[0]! >>> (column % 32)) & 1) === 1,
    };
  }

  /** Rows from `top` up to `bottom`, columns from `left` up to `right`, row by row: for as many as one can read. */
  async block(top: number, bottom: number, left: number, right: number) {
    const views = [this.before, this.after].flatMap((view) =>
      Array.from({ length: bottom - top }, (_, i) => ({
        ...view,
        offset: 4 * ((top + i) * this.k + left),
        size: 4 * (right - left),
      })),
    );
    const read = await this.#gpu.readBackAll(views);
    const join = (rows: Uint8Array[]) => {
      const all = new Uint8Array(rows.reduce((sum, { length }) => sum + length, 0));
      for (const [i, row] of rows.entries()) all.set(row, i * row.length);
      return new Float32Array(all.buffer);
    };
    return { before: join(read.slice(0, bottom - top)), after: join(read.slice(bottom - top)) };
  }

  release(): void {
    this.#lowRank.release();
    this.#weight?.release();
    this.#weight = undefined;
    this.#scratch.release();
  }
}

function copy(gpu: Gpu, from: BufferView, to: BufferView, size: number): void {
  const encoder = gpu.device.createCommandEncoder({ label: 'copy' });
  encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, size);
  gpu.device.queue.submit([encoder.finish()]);
  gpu.counters.submits++;
}
