import upperTriangle from '../../../shaders/algebra/upper_triangle.wgsl';
import { ArgumentError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { type BufferView, packParams } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { each } from '../../kernels/each.ts';
import { writes } from '../../kernels/exact.ts';
import { gemmScratch, gemmSteps } from '../../kernels/gemm.ts';
import type { RunOptions } from '../../scheduler/scheduler.ts';
import { Orthonormalizer, type QrMethod } from './orthonormalizer.ts';

/** A = QR, on the GPU. */
export interface Qr {
  /** f32 [rows, columns], orthonormal columns. */
  readonly q: BufferView;
  /** f32 [columns, columns], zero below the diagonal, whose elements are not negative but for rounding. */
  readonly r: BufferView;
  readonly method: QrMethod;
  /** Frees Q and R. */
  release(): void;
}

/**
 * The QR factorization of a matrix by shifted CholeskyQR3, or where that does not leave Q orthonormal by Householder reflections: |QᵀQ − I| is at most 4e-6, and each column of A
 * is off by a few times (32 + rows / 32) · 2^-24 of its norm. R = QᵀA. Columns of any size from 1e-30 to 1e30.
 * @param matrix f32 [rows, columns], finite, rows ≥ columns
 * @throws ArgumentError for other sizes; CancelledError, DeviceLostError, OutOfMemoryError
 */
export async function qr(
  gpu: Gpu,
  matrix: BufferView,
  rows: number,
  columns: number,
  options: RunOptions = {},
): Promise<Qr> {
  if (!(Number.isInteger(columns) && Number.isInteger(rows) && columns >= 1 && rows >= columns)) {
    throw new ArgumentError(
      `A matrix of ${rows} x ${columns} has no QR factorization: give at least as many rows as columns.`,
    );
  }
  const made = new Scratch(gpu);
  let work: Orthonormalizer | undefined;
  const passing = new Scratch(gpu);
  try {
    work = new Orthonormalizer(gpu, rows, columns);
    const [q, r] = [made.room(4 * rows * columns, 'Q'), made.room(4 * columns * columns, 'R')];
    const parts = passing.room(Math.max(4, gemmScratch(columns, columns, rows)), 'parts');
    const [a, to] = [
      { ...matrix, width: columns },
      { ...q, width: columns },
    ];
    const method = await work.orthonormalize(a, to, rows, columns, options);
    await gpu.scheduler.run(
      [
        ...gemmSteps({
          ...{ a: { ...to, transposed: true }, b: a, c: { ...r, width: columns } },
          ...{ rows: columns, columns, inner: rows, scratch: parts, label: 'qr: triangle' },
        }),
        {
          label: 'qr: triangle',
          ...each(columns * columns, { source: upperTriangle }),
          bindings: [writes('qr', 'r', r, columns * columns)],
          params: packParams(columns),
        },
      ],
      options,
    );
    return { q, r, method, release: () => made.release() };
  } catch (error) {
    made.release();
    throw error;
  } finally {
    work?.release();
    passing.release();
  }
}
