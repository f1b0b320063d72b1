import enlargeDiagonal from '../../../shaders/algebra/enlarge_diagonal.wgsl';
import orthonormality from '../../../shaders/algebra/orthonormality.wgsl';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams, type Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK, choleskySteps } from '../../kernels/cholesky.ts';
import { each } from '../../kernels/each.ts';
import { reads, writes } from '../../kernels/exact.ts';
import { gemmScratch, gemmSteps, type MatrixView, type Operand, usualGemm } from '../../kernels/gemm.ts';
import { PANEL, panelColumnsStep, panelQrSteps, panelRooms } from '../../kernels/panel-qr.ts';
import { columnScalesStep, scaleIntoStep } from '../../kernels/scale-into.ts';
import { triangularInverseSteps } from '../../kernels/triangular-solve.ts';
import type { RunOptions } from '../../scheduler/scheduler.ts';

/** How columns were made orthonormal. */
export type QrMethod = 'cholesky' | 'householder';

/** Largest |QᵀQ − I| that is let pass; what Cholesky leaves otherwise is a few units in the last place. */
const MOST_DEVIATION = 4e-6;
const UNIT = 2 ** -24;
/**
 * Times that a panel is held against those before it, and factored: once for what it holds, once for what that left, and twice for columns that either replaced, since little is
 * left of a random column once it lost what is in nearly all of the space (twice is enough: Giraud, Langou, Rozložník 2005).
 */
const ROUNDS = 4;
/** Share of its norm below which what is left of a column is rounding: of what came, then of a direction that is nearly one of those before it. */
const LEAST = [4 * UNIT, 1e-3];

interface PanelRoom {
  readonly panel: MatrixView;
  readonly before: MatrixView;
  readonly levels: readonly BufferView[];
  readonly norms: BufferView;
  readonly ones: BufferView;
  readonly products: MatrixView;
  readonly parts: BufferView;
}

/** The room that orthonormalizing takes, for matrices of up to some rows and columns, and the steps that do it. */
export class Orthonormalizer {
  readonly #gpu: Gpu;
  readonly #scratch: Scratch;
  readonly #rows: number;
  readonly #columns: number;
  readonly #tall: MatrixView;
  readonly #gram: BufferView;
  readonly #inverse: BufferView;
  readonly #factors: BufferView;
  readonly #scales: BufferView;
  readonly #failed: BufferView;
  readonly #deviation: BufferView;
  readonly #parts: BufferView;
  #panels: PanelRoom | undefined;

  /** @throws OutOfMemoryError */
  constructor(gpu: Gpu, rows: number, columns: number) {
    this.#gpu = gpu;
    this.#rows = rows;
    this.#columns = columns;
    const scratch = new Scratch(gpu);
    this.#scratch = scratch;
    const width = 4 * Math.ceil(columns / 4);
    try {
      this.#tall = { ...scratch.room(4 * rows * width, 'columns'), width };
      this.#gram = scratch.room(4 * columns * columns, 'gram matrix');
      this.#inverse = scratch.room(4 * columns * columns, 'inverse');
      this.#factors = scratch.room(4 * CHOLESKY_BLOCK * columns, 'products');
      this.#scales = scratch.room(4 * columns, 'scales');
      this.#failed = scratch.room(4, 'failed');
      this.#deviation = scratch.room(4, 'deviation');
      this.#parts = scratch.room(
        Math.max(4, gemmScratch(columns, columns, rows), gemmScratch(rows, columns, columns)),
        'parts',
      );
    } catch (error) {
      scratch.release();
      throw error;
    }
  }

  /**
   * Columns that span the same as those of `from`, well conditioned but not orthonormal: a pass of CholeskyQR with a shift. What power iterations need.
   * `to` may be `from`.
   */
  roughSteps(from: Operand, to: MatrixView, rows: number, columns: number): Step[] {
    return [...this.#equilibrate(from, rows, columns), ...this.#passSteps(this.#tall, to, rows, columns, true)];
  }

  /**
   * Orthonormal columns: Q of from = QR, R having a diagonal above zero, by shifted CholeskyQR3 (Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa 2020) with the shift relative to each
   * column's own size. Where the result is not orthonormal to 4e-6, by Householder reflections; then columns that depend on those before are replaced by others.
   * @param from f32 [rows, columns], rows ≥ columns, finite
   * @param to another buffer
   * @throws CancelledError, DeviceLostError, OutOfMemoryError
   */
  async orthonormalize(
    from: Operand,
    to: MatrixView,
    rows: number,
    columns: number,
    options: RunOptions = {},
  ): Promise<QrMethod> {
    const gpu = this.#gpu;
    await gpu.scheduler.run(
      [
        ...this.#equilibrate(from, rows, columns),
        ...this.#passSteps(this.#tall, to, rows, columns, true),
        ...this.#passSteps(to, this.#tall, rows, columns, true),
        ...this.#passSteps(this.#tall, to, rows, columns, false),
        ...this.#gramSteps(to, rows, columns),
        {
          label: 'qr: check',
          kernel: { source: orthonormality },
          bindings: [reads('qr', 'gram', this.#gram, columns * columns), writes('qr', 'deviation', this.#deviation, 1)],
          params: packParams(columns),
          grid: [1, 1, 1],
        },
      ],
      options,
    );
    const [deviation] = new Float32Array((await gpu.readBack(this.#deviation.buffer, 0, 4)).buffer);
    if (deviation! <= MOST_DEVIATION) return 'cholesky';
    await this.householder(from, to, rows, columns, options);
    return 'householder';
  }

  /** The same by Householder reflections: panels of sixteen columns by a tall-skinny tree, each held against those before it (block Gram-Schmidt, four times). */
  async householder(
    from: Operand,
    to: MatrixView,
    rows: number,
    columns: number,
    options: RunOptions = {},
  ): Promise<void> {
    await this.#gpu.scheduler.run(this.#householderSteps(from, to, rows, columns), options);
  }

  release(): void {
    this.#scratch.release();
  }

  #equilibrate(from: Operand, rows: number, columns: number): Step[] {
    return [
      columnScalesStep(from, rows, columns, this.#scales, 'qr'),
      scaleIntoStep(from, this.#scales, this.#tall, rows, columns, 'qr'),
    ];
  }

  #gramSteps(x: MatrixView, rows: number, columns: number): Step[] {
    return gemmSteps({
      a: { ...x, transposed: true },
      b: x,
      c: { ...this.#gram, width: columns },
      ...{ rows: columns, columns, inner: rows, symmetric: true, scratch: this.#parts, label: 'qr: gram' },
    });
  }

  /** to = x R⁻¹, where RᵀR = xᵀx, with a share of the diagonal on top of it where `shifted`. */
  #passSteps(x: MatrixView, to: MatrixView, rows: number, columns: number, shifted: boolean): Step[] {
    const n = columns;
    // Whether it failed shows in the deviation.
    const [gram, inverse, scratch, failed] = [this.#gram, this.#inverse, this.#factors, this.#failed];
    const shift: Step = {
      label: 'qr: shift',
      ...each(n, { source: enlargeDiagonal }),
      bindings: [writes('qr', 'gram', gram, n * n)],
      // What rounding of the sums and of the factorization can take from a pivot.
      params: packParams(n, { f32: 1 + 2 * (n + 32) * UNIT }),
    };
    return [
      ...this.#gramSteps(x, rows, n),
      ...(shifted ? [shift] : []),
      ...choleskySteps({ matrix: gram, n, scratch, failed, label: 'qr: cholesky' }),
      ...triangularInverseSteps({ factor: gram, n, inverse, scratch, label: 'qr: inverse' }),
      ...gemmSteps({
        a: x,
        b: { ...inverse, width: n },
        c: to,
        ...{ rows, columns: n, inner: n, scratch: this.#parts, variant: usualGemm(this.#gpu), label: 'qr: product' },
      }),
    ];
  }

  #householderSteps(from: Operand, to: MatrixView, rows: number, columns: number): Step[] {
    const { panel, before, levels, norms, ones, products, parts } = (this.#panels ??= this.#panelRoom());
    const label = 'qr: panel';
    const shape = { scratch: parts, label };
    const known = { norms, rooms: levels, before };
    const steps = [columnScalesStep(from, rows, columns, this.#scales, 'qr')];
    for (let first = 0; first < columns; first += PANEL) {
      const count = Math.min(PANEL, columns - first);
      const start = (from.start ?? 0) + first * (from.transposed ? from.width : 1);
      steps.push(scaleIntoStep({ ...from, start }, { ...this.#scales, first }, panel, rows, count, label));
      for (let round = 0; round < ROUNDS; round++) {
        steps.push(panelColumnsStep(panel, rows, count, known, undefined, label));
        if (first > 0) {
          const done = { ...to, transposed: true };
          steps.push(
            ...gemmSteps({ a: done, b: panel, c: products, rows: first, columns: count, inner: rows, ...shape }),
            ...gemmSteps({
              ...{ a: to, b: products, c: panel, rows, columns: count, inner: first, keep: 1, factor: -1 },
              ...shape,
            }),
          );
        }
        const least = LEAST[round];
        if (least !== undefined) {
          // R says what depends on what; then again with other columns in its place, so that later ones keep what they had in its direction.
          steps.push(scaleIntoStep(panel, ones, before, rows, count, label));
          steps.push(...panelQrSteps(panel, rows, count, levels, label));
          steps.push(panelColumnsStep(panel, rows, count, known, { least, seed: 1 + ROUNDS * first + round }, label));
        }
        steps.push(...panelQrSteps(panel, rows, count, levels, label));
      }
      steps.push(scaleIntoStep(panel, ones, { ...to, start: (to.start ?? 0) + first }, rows, count, label));
    }
    return steps;
  }

  #panelRoom(): PanelRoom {
    const [rows, columns] = [this.#rows, this.#columns];
    const parts = Math.max(4, gemmScratch(columns, PANEL, rows), gemmScratch(rows, PANEL, columns));
    return {
      panel: { ...this.#scratch.room(4 * PANEL * rows, 'panel'), width: PANEL },
      before: { ...this.#scratch.room(4 * PANEL * rows, 'panel before'), width: PANEL },
      levels: panelRooms(rows).map((bytes) => this.#scratch.room(bytes, 'levels')),
      norms: this.#scratch.room(4 * PANEL, 'norms'),
      ones: this.#scratch.upload(new Float32Array(PANEL).fill(1), 'ones'),
      products: { ...this.#scratch.room(4 * PANEL * columns, 'products of panels'), width: PANEL },
      parts: this.#scratch.room(parts, 'parts'),
    };
  }
}
