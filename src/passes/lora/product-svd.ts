import { NonFiniteError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gemmScratch, gemmSteps, type Operand } from '../../kernels/gemm.ts';
import { wrapDense } from '../../kernels/weight.ts';
import { readFloats } from '../lowrank/dense-rows.ts';
import { qr } from '../lowrank/qr.ts';
import { type SvdOptions, svd } from '../lowrank/svd.ts';
import { leftFactor, rightFactor } from './split.ts';

/** scaling · B A, by its factors. */
export interface Product {
  /** [out, rank] */
  readonly b: Float32Array;
  /** [rank, in] */
  readonly a: Float32Array;
  readonly scaling: number;
  readonly rank: number;
}

/**
 * The truncated SVD of a product of thin matrices, without the product: B = Q_B R_B, Aᵀ = Q_A R_A, and R_B R_Aᵀ = U S Vᵀ is of the size of the rank. Of a factor that is wider than long, Q is the
 * identity. The singular values are shared out to both new factors.
 * @param rank at most that of the product, and its sides
 * @returns factors b [out, rank] and a [rank, in], and the part of the product that they leave out
 * @throws NonFiniteError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorProduct(
  gpu: Gpu,
  { b, a, scaling, rank: before }: Product,
  rank: number,
  options: Pick<SvdOptions, 'signal' | 'name'>,
): Promise<{ b: Float32Array<ArrayBuffer>; a: Float32Array<ArrayBuffer>; error: number }> {
  const [out, into] = [b.length / before, a.length / before];
  const scratch = new Scratch(gpu);
  const held: Triangular[] = [];
  const run = { label: 'The product', ...(options.signal && { signal: options.signal }) };
  try {
    const left = await triangular(gpu, scratch, b, out, before, options);
    held.push(left);
    const right = await triangular(gpu, scratch, transposed(a, before, into), into, before, options);
    held.push(right);
    const middle = scratch.room(4 * left.rows * right.rows, 'product of triangles');
    const parts = (rows: number, columns: number, inner: number): BufferView =>
      scratch.room(Math.max(4, gemmScratch(rows, columns, inner)), 'parts');
    await gpu.scheduler.run(
      gemmSteps({
        ...{ a: left.r, b: { ...right.r, transposed: true }, c: { ...middle, width: right.rows }, factor: scaling },
        ...{ rows: left.rows, columns: right.rows, inner: before, scratch: parts(left.rows, right.rows, before) },
      }),
      run,
    );
    const small = await svd(gpu, wrapDense(middle.buffer, left.rows, right.rows), options);
    try {
      const whole = small.rank;
      const values = small.singularValues;
      const vectors = async (q: BufferView | undefined, basis: BufferView, rows: number, height: number) => {
        const to = scratch.room(4 * height * rank, 'vectors');
        if (!q) return firstColumns(await readFloats(gpu, basis, rows * whole), whole, rank);
        await gpu.scheduler.run(
          gemmSteps({
            ...{ a: { ...q, width: rows }, b: { ...basis, width: whole }, c: { ...to, width: rank } },
            ...{ rows: height, columns: rank, inner: rows, scratch: parts(height, rank, rows) },
          }),
          run,
        );
        return readFloats(gpu, to, height * rank);
      };
      const kept = values.slice(0, rank);
      const squares = (some: Float32Array) => some.reduce((sum, value) => sum + value * value, 0);
      const [all, lost] = [squares(values), squares(values.slice(rank))];
      return {
        b: leftFactor(await vectors(left.q, small.u, left.rows, out), kept),
        a: rightFactor(await vectors(right.q, small.v, right.rows, into), kept),
        error: all === 0 ? 0 : Math.sqrt(lost / all),
      };
    } finally {
      small.release();
    }
  } finally {
    for (const { release } of held) release();
    scratch.release();
  }
}

interface Triangular {
  /** [height, rows]; undefined: the identity. */
  readonly q: BufferView | undefined;
  /** [rows, width] */
  readonly r: Operand;
  readonly rows: number;
  release(): void;
}

/** A QR factorization of what has enough rows for one. */
async function triangular(
  gpu: Gpu,
  scratch: Scratch,
  values: Float32Array,
  rows: number,
  width: number,
  { signal, name = 'The product' }: Pick<SvdOptions, 'signal' | 'name'>,
): Promise<Triangular> {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new NonFiniteError(`${name} can't be factored: element ${bad} of a factor is ${values[bad]}.`);
  const view = scratch.upload(values, 'factor');
  if (rows < width) return { q: undefined, r: { ...view, width }, rows, release: () => {} };
  const made = await qr(gpu, view, rows, width, signal ? { signal } : {});
  return { q: made.q, r: { ...made.r, width }, rows: width, release: made.release };
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) turned[column * rows + row] = values[row * columns + column]!;
  }
  return turned;
}

/** The first columns of x [rows, width]. */
function firstColumns(x: Float32Array, width: number, columns: number): Float32Array<ArrayBuffer> {
  const rows = x.length / width;
  const some = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) some.set(x.subarray(row * width, row * width + columns), row * columns);
  return some;
}
