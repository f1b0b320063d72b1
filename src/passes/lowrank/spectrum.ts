import { quote } from '../../files/text.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Weight } from '../../kernels/weight.ts';
import { eachWhitened, type WhitenedWork } from '../factorize/each-whitened.ts';
import { whitenedMatrix } from '../factorize/factor-matrix.ts';
import { MatrixProducts } from './matrix-products.ts';
import { svd } from './svd.ts';

/** Singular values that are computed of a matrix at most: of more, what lies behind is known by its sum of squares. */
export const MOST_VALUES = 512;

/** The singular values of a matrix, or its largest ones. */
export interface Spectrum {
  /** Largest first. */
  readonly values: Float32Array<ArrayBuffer>;
  /** The sum of squares of all, which is ‖W‖². */
  readonly total: number;
}

/** A place of a spectrum. */
export interface SpectrumPoint {
  readonly rank: number;
  /** Its singular value, as a share of the largest. */
  readonly value: number;
  /** What the values up to this one have of the sum of squares: 1 − (error of that rank)². */
  readonly kept: number;
}

/** What is known of a matrix. */
export interface MatrixSpectrum {
  readonly name: string;
  readonly shape: readonly [number, number];
  /** From this rank on factors have as many parameters as the matrix. */
  readonly pays: number;
  readonly plain: readonly SpectrumPoint[];
  /** Of W Uᵀ with H = UᵀU: null where nothing shows the inputs. */
  readonly whitened: readonly SpectrumPoint[] | null;
}

/** @throws NonFiniteError, CancelledError, OutOfMemoryError, DeviceLostError */
export async function spectrumOf(gpu: Gpu, matrix: Weight, name: string, signal?: AbortSignal): Promise<Spectrum> {
  const how = { name, ...(signal && { signal }) };
  const side = Math.min(matrix.rows, matrix.k);
  const found = await svd(gpu, matrix, side > MOST_VALUES ? { ...how, rank: MOST_VALUES } : how);
  const values = found.singularValues;
  found.release();
  const run = { label: 'The factorization', ...(signal && { signal }) };
  const seen = await MatrixProducts.open(gpu, matrix, run, name);
  return { values, total: (await seen.squaredNorm(run)) / seen.scale ** 2 };
}

/** Points of a spectrum at ranks that grow by an eighth or more, the last one included. */
export function pointsOf({ values, total }: Spectrum): SpectrumPoint[] {
  const points: SpectrumPoint[] = [];
  const [largest = 0] = values;
  let squares = 0;
  let next = 1;
  for (const [i, value] of values.entries()) {
    squares += value * value;
    const rank = i + 1;
    if (rank < next && rank < values.length) continue;
    next = Math.max(rank + 1, Math.floor(rank * 1.125));
    points.push({
      rank,
      value: largest > 0 ? value / largest : 0,
      kept: total > 0 ? Math.min(1, squares / total) : 1,
    });
  }
  return points;
}

/**
 * The spectra of matrices, plain and, where their inputs are known, whitened.
 * @throws NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function spectraOf(work: WhitenedWork<{ readonly name: string }>): Promise<MatrixSpectrum[]> {
  const { gpu, signal } = work;
  const found = new Map<string, MatrixSpectrum>();
  await eachWhitened(work, async ({ name }, weight, whitening) => {
    const { rows, k } = weight;
    const label = `tensor ${quote(name)}`;
    const plain = pointsOf(await spectrumOf(gpu, weight, label, signal));
    let whitened: SpectrumPoint[] | null = null;
    if (whitening) {
      const matrix = await whitenedMatrix(gpu, weight, whitening, label, signal);
      try {
        whitened = pointsOf(await spectrumOf(gpu, matrix, label, signal));
      } finally {
        matrix.release();
      }
    }
    found.set(name, { name, shape: [rows, k], pays: Math.ceil((rows * k) / (rows + k)), plain, whitened });
    return undefined;
  });
  return work.tensors.flatMap(({ name }) => found.get(name) ?? []);
}

/** The least rank of those looked at that keeps a share of the sum of squares; undefined where none does. */
export const rankKeeping = (points: readonly SpectrumPoint[], share: number): number | undefined =>
  points.find(({ kept }) => kept >= share)?.rank;
