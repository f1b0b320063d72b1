import largest from '../../../shaders/algebra/largest.wgsl';
import { ArgumentError, NonFiniteError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { grid1d, packParams, type Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { reads, writes } from '../../kernels/exact.ts';
import { gemmScratch, gemmSteps, type MatrixView, type Operand, usualGemm } from '../../kernels/gemm.ts';
import { scaleIntoStep } from '../../kernels/scale-into.ts';
import type { Weight, WeightPart } from '../../kernels/weight.ts';
import type { RunOptions } from '../../scheduler/scheduler.ts';

/** Elements that a workgroup of largest.wgsl looks at. */
const LOOKED_AT = 4096;
/** 2^x for a whole x, also where that is no normal f32. */
const powerOfTwo = (x: number) => 2 ** Math.max(-126, Math.min(127, x));

/**
 * A matrix f32 that is to be factored, in one buffer or several, seen through its products: of A times a power of two, so that no square over- or underflows,
 * or, where it is wide, of its transpose.
 */
export class MatrixProducts {
  /** A or its transpose: rows ≥ columns. */
  readonly rows: number;
  readonly columns: number;
  readonly wide: boolean;
  /** What A is multiplied with. */
  readonly scale: number;
  readonly #gpu: Gpu;
  readonly #weight: Weight;

  private constructor(gpu: Gpu, weight: Weight, scale: number) {
    this.#gpu = gpu;
    this.#weight = weight;
    this.scale = scale;
    this.wide = weight.rows < weight.k;
    this.rows = Math.max(weight.rows, weight.k);
    this.columns = Math.min(weight.rows, weight.k);
  }

  /**
   * Looks at all elements once.
   * @throws NonFiniteError for a NaN or infinity, ArgumentError unless the weight is of f32
   */
  static async open(gpu: Gpu, weight: Weight, options: RunOptions, name = 'The matrix'): Promise<MatrixProducts> {
    if (weight.format.name !== 'f32') {
      throw new ArgumentError(
        `Only matrices of f32 can be factored, not of ${weight.format.name}: dequantize it first.`,
      );
    }
    const scratch = new Scratch(gpu);
    try {
      const found = scratch.room(8, 'largest element');
      gpu.clear(found.buffer, 8);
      const sums = scratch.room(4 * Math.max(...weight.parts.map((part) => groupsOf(part, weight.k))), 'sums');
      const steps = weight.parts.map((part) => lookStep(part, weight.k, 1, found, sums));
      await gpu.scheduler.run(steps, options);
      const [bits, place] = new Uint32Array((await gpu.readBack(found.buffer, 0, 8)).buffer);
      if (place !== 0) {
        const at = 0xffffffff - place!;
        throw new NonFiniteError(
          `${name} can't be factored: element [${Math.floor(at / weight.k)}, ${at % weight.k}] is NaN or infinite.`,
        );
      }
      return new MatrixProducts(gpu, weight, bits === 0 ? 1 : powerOfTwo(127 - (bits! >>> 23)));
    } finally {
      scratch.release();
    }
  }

  /** ‖A · scale‖², as sums over 4096 elements that are added in f64. */
  async squaredNorm(options: RunOptions): Promise<number> {
    const gpu = this.#gpu;
    const scratch = new Scratch(gpu);
    try {
      let total = 0;
      const found = scratch.room(8, 'largest element');
      for (const part of this.#weight.parts) {
        const count = groupsOf(part, this.#weight.k);
        const sums = scratch.room(4 * count, 'sums');
        await gpu.scheduler.run([lookStep(part, this.#weight.k, this.scale, found, sums)], options);
        const values = new Float32Array((await gpu.readBack(sums.buffer, 0, 4 * count)).buffer);
        for (const value of values) total += value;
      }
      return total;
    } finally {
      scratch.release();
    }
  }

  /** Bytes of the room that products with `columns` columns take. */
  scratchBytes(columns: number): number {
    const { rows, k, parts } = this.#weight;
    const most = Math.max(...parts.map((part) => part.rows));
    return Math.max(
      4,
      gemmScratch(most, columns, k),
      gemmScratch(k, columns, most),
      gemmScratch(rows, columns, columns),
    );
  }

  /** to [rows, count] = A · b, where b is [columns, count]. */
  times(b: Operand | { readonly seed: number }, to: MatrixView, count: number, scratch: MatrixView['buffer']): Step[] {
    return this.#product(this.wide, b, to, count, { buffer: scratch });
  }

  /** to [columns, count] = Aᵀ · b, where b is [rows, count]. */
  transposedTimes(b: Operand, to: MatrixView, count: number, scratch: MatrixView['buffer']): Step[] {
    return this.#product(!this.wide, b, to, count, { buffer: scratch });
  }

  /** Copies A to `to` [rows, columns]. `factors`: f32 [columns], each `scale`. */
  copy(to: MatrixView, factors: MatrixView['buffer']): Step[] {
    const { k, parts } = this.#weight;
    return parts.map(({ rows, rowStart, arrays }) => {
      const x = { ...arrays[0]!, width: k, transposed: this.wide };
      const start = (to.start ?? 0) + (this.wide ? rowStart : rowStart * to.width);
      const [high, across] = this.wide ? [k, rows] : [rows, k];
      return scaleIntoStep(x, { buffer: factors }, { ...to, start }, high, across, 'matrix');
    });
  }

  #product(
    transposed: boolean,
    b: Operand | { readonly seed: number },
    to: MatrixView,
    columns: number,
    scratch: { readonly buffer: GPUBuffer },
  ): Step[] {
    const { k, parts } = this.#weight;
    const shared = { columns, factor: this.scale, scratch, variant: usualGemm(this.#gpu) };
    return parts.flatMap(({ rows, rowStart, arrays }, i) => {
      const a = { ...arrays[0]!, width: k, transposed };
      const start = (view: MatrixView) => ({ ...view, start: (view.start ?? 0) + rowStart * view.width });
      if (!transposed) {
        return gemmSteps({ a, b, c: start(to), rows, inner: k, ...shared, label: 'A times' });
      }
      // Of random numbers each part takes its own.
      const own = 'seed' in b ? { seed: (b.seed + Math.imul(i, 0x9e3779b9)) >>> 0 } : start(b);
      return gemmSteps({ a, b: own, c: to, rows: k, inner: rows, keep: Number(i > 0), ...shared, label: 'Aᵀ times' });
    });
  }
}

const groupsOf = ({ rows }: WeightPart, k: number) => Math.ceil((rows * k) / LOOKED_AT);

function lookStep(
  part: WeightPart,
  k: number,
  factor: number,
  found: { readonly buffer: GPUBuffer },
  sums: { readonly buffer: GPUBuffer },
): Step {
  const count = part.rows * k;
  const groups = groupsOf(part, k);
  return {
    label: 'look at the matrix',
    kernel: { source: largest },
    bindings: [
      reads('matrix', 'x', part.arrays[0]!, count),
      writes('matrix', 'found', found, 2),
      writes('matrix', 'sums', sums, groups),
    ],
    params: packParams(count, part.rowStart * k, { f32: factor }),
    grid: grid1d(groups),
    bytes: 4 * count,
  };
}
