import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import { columnStatisticsStep } from '../../kernels/column-statistics.ts';
import { differenceStep } from '../../kernels/rows.ts';
import { transposedProductStep } from '../../kernels/transposed-product.ts';
import type { ColumnStatistics, Statistics } from './statistics.ts';

/**
 * Statistics of one input of a graph over the tokens of a calibration, gathered on the GPU: H = XᵀX / T, f32 [k, k], and of each column the means of
 * |x|, x² and x and the largest |x|. Sums run over 32 tokens at a time within a window, then over windows: an element of H is off by at most
 * (32 + window / 32 + windows + 4) · 2^-24 · mean |x_i x_j|.
 */
export class InputStatistics implements Statistics {
  readonly k: number;
  /** T: all tokens that will be added. */
  readonly tokens: number;
  readonly #gpu: Gpu;
  readonly #columns: BufferView;
  #hessian: BufferView | undefined;
  #cross: BufferView | undefined;
  #difference: BufferView | undefined;

  /** Where a device can't bind k² numbers at once there is no H. @throws OutOfMemoryError */
  constructor(gpu: Gpu, k: number, tokens: number, { hessian = true }: { readonly hessian?: boolean } = {}) {
    this.#gpu = gpu;
    this.k = k;
    this.tokens = tokens;
    this.#columns = this.#zeroed(16 * k, 'column statistics');
    if (hessian && 4 * k * k <= gpu.bindingLimit) {
      try {
        this.#hessian = this.#zeroed(4 * k * k, 'H');
      } catch (error) {
        this.release();
        throw error;
      }
    }
  }

  /** f32 [k, k]; undefined where it was not wanted, is too large, or has been released. */
  get hessian(): BufferView | undefined {
    return this.#hessian;
  }

  /** How the input differs from that of the original model: (X₀ − X)ᵀX / T, f32 [k, k]; undefined without H, and where no window gave both. */
  get cross(): BufferView | undefined {
    return this.#cross;
  }

  /**
   * Adds the tokens of a window: x is f32 [tokens, k], and `original` what the original model has in its place.
   * @throws OutOfMemoryError
   */
  steps(x: BufferView, tokens: number, original?: BufferView): Step[] {
    const { k } = this;
    const factor = 1 / this.tokens;
    const columns = columnStatisticsStep({ x, statistics: this.#columns, tokens, width: k, factor });
    if (!this.#hessian) return [columns];
    const a = { ...x, width: k };
    const sizes = { rows: k, columns: k, from: 0, to: tokens };
    const added = { ...sizes, keep: 1, factor };
    const steps = [
      columns,
      transposedProductStep({ a, b: a, c: this.#hessian, ...added, symmetric: true, label: 'H' }),
    ];
    if (!original) return steps;
    this.#cross ??= this.#zeroed(4 * k * k, 'cross products');
    this.#difference ??= this.#zeroed(4 * tokens * k, 'differences');
    const difference = { ...this.#difference, width: k };
    return [
      ...steps,
      differenceStep({ a: original, b: x, out: difference, count: tokens * k }),
      transposedProductStep({ a: difference, b: a, c: this.#cross, ...added, label: 'cross products' }),
    ];
  }

  #zeroed(size: number, label: string): BufferView {
    const buffer = this.#gpu.memory.allocate(size, label);
    this.#gpu.clear(buffer, size);
    return { buffer, size };
  }

  /** @throws DeviceLostError */
  async columns(): Promise<ColumnStatistics> {
    const { k } = this;
    const all = new Float32Array((await this.#gpu.readBack(this.#columns.buffer, 0, 16 * k)).buffer);
    const part = (i: number) => all.slice(i * k, (i + 1) * k);
    return { meanAbs: part(0), meanSquare: part(1), absMax: part(2), mean: part(3) };
  }

  release(): void {
    this.#gpu.memory.release(this.#columns.buffer);
    for (const view of [this.#hessian, this.#cross, this.#difference]) if (view) this.#gpu.memory.release(view.buffer);
    this.#hessian = this.#cross = this.#difference = undefined;
  }
}
