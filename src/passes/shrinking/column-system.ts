import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { CHOLESKY_BLOCK, choleskySteps } from '../../kernels/cholesky.ts';
import { gemmScratch } from '../../kernels/gemm.ts';
import { inverseRootsSteps } from '../../kernels/inverse-roots.ts';
import { permuteSymmetricStep } from '../../kernels/permute.ts';
import { refitColumnsSteps } from '../../kernels/refit-columns.ts';
import { rowProductsStep } from '../../kernels/rows.ts';
import { triangularSolveSteps } from '../../kernels/triangular-solve.ts';
import { dampedCholesky, hessianProblem } from '../methods/damped-cholesky.ts';
import { type DenseRows, sumOfRows } from '../methods/matrix-error.ts';

const numbers = async (gpu: Gpu, { buffer, offset = 0 }: BufferView, count: number): Promise<Float32Array> =>
  new Float32Array((await gpu.readBack(buffer, offset, 4 * count)).buffer);

/** H with damping in the columns that stay, factored: what other matrices are fitted by. */
export class ColumnSystem {
  readonly #gpu: Gpu;
  readonly #scratch: Scratch;
  readonly #hessian: BufferView;
  readonly #factor: BufferView;
  readonly #columns: BufferView;
  readonly #signal: AbortSignal | undefined;
  readonly #damping: number;
  #inverse: BufferView | undefined;
  /** Columns of H, and those of them that stay. */
  readonly k: number;
  readonly n: number;

  private constructor(
    gpu: Gpu,
    scratch: Scratch,
    views: Readonly<Record<'hessian' | 'factor' | 'columns', BufferView>>,
    sizes: { readonly k: number; readonly n: number; readonly damping: number },
    signal: AbortSignal | undefined,
  ) {
    this.#gpu = gpu;
    this.#scratch = scratch;
    this.#hessian = views.hessian;
    this.#factor = views.factor;
    this.#columns = views.columns;
    this.#damping = sizes.damping;
    this.#signal = signal;
    this.k = sizes.k;
    this.n = sizes.n;
  }

  /**
   * @param hessian f32 [k, k]
   * @param diagonal of it
   * @param columns those that stay, ascending
   * @returns a reason where H can't be factored
   * @throws OutOfMemoryError, DeviceLostError, CancelledError
   */
  static async make(
    gpu: Gpu,
    hessian: BufferView,
    diagonal: Float32Array,
    columns: Uint32Array,
    signal?: AbortSignal,
  ): Promise<ColumnSystem | string> {
    const [k, n] = [diagonal.length, columns.length];
    const problem = hessianProblem(diagonal);
    if (problem) return problem;
    const kept = new Scratch(gpu);
    try {
      const views = {
        hessian,
        factor: kept.room(4 * n * n, 'factor of H'),
        columns: kept.upload(columns, 'columns'),
      };
      const damping = await dampedCholesky(
        gpu,
        { hessian, diagonal, order: views.columns, n, factor: views.factor },
        signal,
      );
      if (typeof damping !== 'string') return new ColumnSystem(gpu, kept, views, { k, n, damping }, signal);
      kept.release();
      return damping;
    } catch (error) {
      kept.release();
      throw error;
    }
  }

  /** Rows of a matrix, fitted: f32 [n, rows], the transpose of its columns, in a buffer of `scratch`. @throws OutOfMemoryError, DeviceLostError, CancelledError */
  async fitted({ view, rows }: DenseRows, scratch: Scratch): Promise<BufferView> {
    const { k, n } = this;
    const passing = new Scratch(this.#gpu);
    try {
      const parts = gemmScratch(k, rows, k);
      const fitted = scratch.room(4 * n * rows, 'fitted columns');
      const steps = refitColumnsSteps({
        ...{ weights: view, hessian: this.#hessian, damping: this.#damping, columns: this.#columns },
        ...{ factor: this.#factor, fitted, rows, k, n },
        products: passing.room(4 * k * rows, 'products'),
        scratch: passing.room(4 * CHOLESKY_BLOCK * rows, 'scratch'),
        parts: parts === 0 ? undefined : passing.room(parts, 'parts'),
      });
      await this.#run(steps);
      return fitted;
    } finally {
      passing.release();
    }
  }

  /**
   * What each unit costs: tr(W_G ([M⁻¹]_GG)⁻¹ W_Gᵀ), M being H in the columns that stay, W fitted to them, G the columns of the unit: by how much the
   * error grows when they go and all others make up for it. With one column a unit, ‖w_j‖² / [M⁻¹]_jj (optimal brain surgeon, Hassibi and Stork 1993).
   * @param fitted f32 [n, rows], as `fitted` gives it; left as it is
   * @param size columns of a unit, next to each other among those that stay
   * @throws OutOfMemoryError, DeviceLostError, CancelledError
   */
  async costs(fitted: BufferView, rows: number, size: number): Promise<Float64Array> {
    const gpu = this.#gpu;
    const { n } = this;
    const scratch = new Scratch(gpu);
    try {
      if (size === 1) {
        const out = scratch.room(4 * n, 'squares');
        await this.#run([rowProductsStep({ a: fitted, b: fitted, out, rows: n, width: rows })]);
        const [squares, roots] = [await numbers(gpu, out, n), await this.#inverseRoots(scratch)];
        return Float64Array.from(squares, (square, i) => square * roots[i]! ** 2);
      }
      await this.#inverseRoots(scratch);
      const block = scratch.room(4 * size * size, 'block');
      const room = scratch.room(4 * CHOLESKY_BLOCK * Math.max(size, rows), 'scratch');
      const failed = scratch.upload(Uint32Array.of(0), 'failed');
      const z = scratch.room(4 * size * rows, 'columns of a unit');
      const out = scratch.room(4 * size, 'squares');
      const costs = new Float64Array(n / size);
      for (let first = 0; first < n; first += size) {
        const order = scratch.upload(
          Uint32Array.from({ length: size }, (_, i) => first + i),
          'columns of a unit',
        );
        const encoder = gpu.device.createCommandEncoder({ label: 'copy' });
        const at = (fitted.offset ?? 0) + 4 * first * rows;
        encoder.copyBufferToBuffer(fitted.buffer, at, z.buffer, 0, 4 * size * rows);
        gpu.device.queue.submit([encoder.finish()]);
        gpu.counters.submits++;
        await this.#run([
          permuteSymmetricStep({ matrix: this.#inverse!, order, out: block, n: size, width: n, damping: 0 }),
          ...choleskySteps({ matrix: block, n: size, scratch: room, failed }),
          ...triangularSolveSteps({ factor: block, n: size, z, columns: rows, scratch: room, backward: false }),
          rowProductsStep({ a: z, b: z, out, rows: size, width: rows }),
        ]);
        costs[first / size] = sumOfRows(await numbers(gpu, out, size));
      }
      return costs;
    } finally {
      scratch.release();
    }
  }

  /** 1 / √[M⁻¹]_jj; leaves M⁻¹ in `#inverse`. */
  async #inverseRoots(scratch: Scratch): Promise<Float32Array> {
    const { n } = this;
    this.#inverse ??= this.#scratch.room(4 * n * n, 'inverse of H');
    const factors = scratch.room(4 * n, 'roots');
    const order = scratch.upload(
      Uint32Array.from({ length: n }, (_, i) => i),
      'order',
    );
    const room = scratch.room(4 * CHOLESKY_BLOCK * n, 'scratch');
    await this.#run(
      inverseRootsSteps({ factor: this.#factor, order, factors, inverse: this.#inverse, scratch: room, n }),
    );
    return numbers(this.#gpu, factors, n);
  }

  #run(steps: Parameters<Gpu['scheduler']['run']>[0]): Promise<void> {
    return this.#gpu.scheduler.run(steps, { label: 'The refit', ...(this.#signal && { signal: this.#signal }) });
  }

  release(): void {
    this.#scratch.release();
  }
}
