import { packParams, read, readWrite } from '../../../src/gpu/kernel.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import {
  applyMaskStep,
  type BufferView,
  type Checkpoint,
  formatByName,
  type Gpu,
  maskWords,
  type Step,
} from '../../../src/index.ts';
import { differenceStep, rowProductsStep } from '../../../src/kernels/rows.ts';
import { defaultMethod } from '../../../src/passes/methods/method.ts';
import { maskedRows, maskSteps, selectionRoom } from '../../../src/passes/pruning/find-mask.ts';
import histogramSource from '../../shaders/histogram.wgsl';
import sumSource from '../../shaders/sum.wgsl';
import type { Knobs } from '../view-state.ts';
import { readDense, rowsTogether } from './dense-tensor.ts';
import { denseFormat, type Packing, type Plan, planOf } from './knobs.ts';
import { LowRankProduct } from './low-rank-product.ts';
import type { TensorEntry } from './network.ts';
import { type PlanBytes, planBytes } from './plan-bytes.ts';
import { type Level, levelsOf, pyramidBytes, pyramidSteps } from './pyramid.ts';
import { Rounding, type Rounds } from './rounding.ts';
import { runSliced } from './slices.ts';
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
  /** The method lost more than rounding to nearest, which was taken. */
  readonly fellBack: boolean;
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
  summary: Summary = { largest: 0, rms: 0, zeros: 0 };
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
  readonly #rounding: Rounding;

  private constructor(gpu: Gpu, entry: TensorEntry, rows: number, scratch: Scratch) {
    const { k } = entry;
    this.#gpu = gpu;
    this.entry = entry;
    this.rows = rows;
    this.k = k;
    this.#scratch = scratch;
    this.levels = levelsOf(rows, k);
    this.before = scratch.room(4 * rows * k, entry.name);
    this.after = scratch.room(4 * rows * k, 'after');
    this.cells = scratch.room(pyramidBytes(this.levels), 'pyramid');
    this.#mask = scratch.room(4 * maskWords(rows, k), 'mask');
    this.#lost = scratch.room(4 * rows * k, 'lost');
    this.#rowErrors = scratch.room(4 * rows, 'errors of rows');
    this.#live = scratch.room(COUNTS + HISTOGRAM_BYTES, 'figures');
    this.#rounding = new Rounding(gpu, entry.name);
    this.#lowRank = new LowRankProduct(gpu, { view: this.before, rows, k, name: entry.name });
  }

  /** @throws FileError, NonFiniteError, OutOfMemoryError, DeviceLostError, CancelledError */
  static async open(gpu: Gpu, checkpoint: Checkpoint, entry: TensorEntry, signal: AbortSignal): Promise<TensorSession> {
    const { k } = entry;
    const rows = Math.max(1, Math.min(entry.rows, rowsTogether(gpu, k)));
    const scratch = new Scratch(gpu);
    try {
      const session = await gpu.guard(entry.name, () => new TensorSession(gpu, entry, rows, scratch));
      const { before } = session;
      const parts = scratch.room(SUMMARY_BYTES, 'summary');
      const first = [summaryStep(before, rows * k, parts), session.#products(before, session.#rowErrors)];
      // While weights are read the device compiles what every turn of a knob needs; `run` says what does not compile.
      gpu.compiler.prepare([...first, ...session.#viewSteps()]).catch(() => undefined);
      await readDense(gpu, checkpoint, entry, { start: 0, count: rows }, before, signal);
      await gpu.scheduler.run(first);
      const found = new Float32Array((await gpu.readBack(parts.buffer, 0, SUMMARY_BYTES)).buffer);
      session.summary = joinSummary(found, rows * k);
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
    const plan = planOf(knobs, rows, k, this.entry.format);
    const scratch = new Scratch(gpu);
    try {
      if (plan.rank > 0) {
        this.masked = false;
        await this.#lowRank.into(after, plan.rank, this.#factorRounds(plan), scratch, signal);
      } else {
        copy(gpu, before, after, 4 * rows * k);
        this.masked = plan.pattern !== undefined;
        const dense = { view: after, rows, k };
        if (plan.pattern) {
          const matrix = { ...maskedRows(gpu, scratch, dense, plan.pattern, undefined), mask: this.#mask };
          const steps = maskSteps(matrix, plan.pattern, selectionRoom(scratch));
          await gpu.scheduler.run([...steps, this.#applyMask(after)]);
        }
        const rounds = roundsOf(plan);
        if (rounds && packsCodes(plan)) {
          const kept = await this.#rounding.keep(dense, this.#mask, plan.packing, scratch);
          await this.#rounding.packed(kept, plan.packing, rounds, k, after, scratch);
        } else if (rounds) await this.#rounding.inPlace(dense, rounds, scratch);
      }
      return await this.#look({ knobs, plan, fellBack: false });
    } finally {
      scratch.release();
    }
  }

  /** Everything anew that views and figures show of `after`. */
  async #look(of: Pick<Figures, 'knobs' | 'plan' | 'fellBack'>): Promise<Figures> {
    const { rows, k, entry } = this;
    const gpu = this.#gpu;
    gpu.clear(this.#live.buffer, COUNTS + HISTOGRAM_BYTES);
    await runSliced(gpu, this.#viewSteps());
    this.version++;
    // The histogram stays where it is until somebody looks at it.
    const live = (await gpu.readBack(this.#live.buffer, 0, COUNTS + 8)).buffer;
    const [before, after] = new Uint32Array(live, COUNTS);
    this.figures = {
      ...{ ...of, exact: false },
      bytes: planBytes(of.plan, entry.rows, k, entry.format),
      error: this.#all > 0 ? new Float32Array(live)[0]! / this.#all : 0,
      zeros: [before! / (rows * k), after! / (rows * k)],
    };
    return this.figures;
  }

  /**
   * What waits until the knobs rest, since kilobytes are read back for it: a pruned matrix is rounded to nearest where that loses less than the method, as the
   * engine does, and the error is added up as its reports do.
   * @throws OutOfMemoryError, DeviceLostError
   */
  async settle(): Promise<Figures | undefined> {
    if (!this.figures || this.figures.exact) return this.figures;
    const { knobs, plan } = this.figures;
    const fellBack = await this.#fallBack(plan);
    const figures = fellBack ? await this.#look({ knobs, plan, fellBack }) : this.figures;
    const error = await this.#sumOfRows();
    this.figures = { ...figures, error: this.#all > 0 ? error / this.#all : 0, exact: true };
    return this.figures;
  }

  async #fallBack(plan: Plan): Promise<boolean> {
    const rounds = roundsOf(plan);
    if (!rounds?.weighs) return false;
    const { rows, k } = this;
    const scratch = new Scratch(this.#gpu);
    try {
      // What pruning left, once more: it is not kept.
      copy(this.#gpu, this.before, this.#lost, 4 * rows * k);
      await this.#gpu.scheduler.run([this.#applyMask(this.#lost)]);
      const dense = { view: this.#lost, rows, k };
      const kept = packsCodes(plan) && (await this.#rounding.keep(dense, this.#mask, plan.packing, scratch));
      if (!(await this.#rounding.fallsBack(kept ? kept.values : dense, rounds, scratch))) return false;
      const packed = kept && plan.packing ? { kept, packing: plan.packing } : undefined;
      await this.#rounding.show(this.after, k, scratch, packed);
      return true;
    } finally {
      scratch.release();
    }
  }

  #applyMask(data: BufferView): Step {
    return applyMaskStep({ format: formatByName('f32'), data, mask: this.#mask, rows: this.rows, k: this.k });
  }

  /** Factors that stay dense have the type of the tensor. */
  #factorRounds({ format }: Plan): Rounds {
    const stored = format ?? denseFormat(this.entry.format);
    return { format: stored, method: defaultMethod(stored), weighs: false };
  }

  /** Weights in each of `BINS` ranges from −largest to largest, before and after. */
  async histograms(): Promise<[Uint32Array, Uint32Array]> {
    const counts = new Uint32Array((await this.#gpu.readBack(this.#live.buffer, COUNTS + 8, 8 * BINS)).buffer);
    return [counts.subarray(0, BINS), counts.subarray(BINS)];
  }

  /** The pyramid and all figures anew, of the tensor as it is compressed now. */
  #viewSteps(): Step[] {
    const { before, after, cells, levels, masked, rows, k } = this;
    const mask = this.#mask;
    return [
      ...pyramidSteps({ before, after, mask, masked, cells, levels, rows, k }),
      differenceStep({ a: before, b: after, out: this.#lost, count: rows * k }),
      this.#products(this.#lost, this.#rowErrors),
      ...this.#figureSteps(),
    ];
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
    this.#rounding.release();
    this.#scratch.release();
  }
}

/** Undefined: weights stay as they are. */
const roundsOf = ({ format, method, pattern }: Plan): Rounds | undefined =>
  format && { format, method, weighs: pattern !== undefined && format.kind === 'block' };

/** Blocks are of what is kept; values that are rounded one by one are the same wherever they stand. */
const packsCodes = (plan: Plan): plan is Plan & { readonly packing: Packing } =>
  plan.packing !== undefined && plan.format?.kind === 'block';

function copy(gpu: Gpu, from: BufferView, to: BufferView, size: number): void {
  const encoder = gpu.device.createCommandEncoder({ label: 'copy' });
  encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, size);
  gpu.device.queue.submit([encoder.finish()]);
  gpu.counters.submits++;
}
