import { ArgumentError, ConvergenceError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gemmScratch, gemmSteps, type MatrixView, usualGemm } from '../../kernels/gemm.ts';
import { JACOBI_STATE, jacobiSteps, rowNormsStep, sortRowsStep } from '../../kernels/jacobi.ts';
import type { Weight } from '../../kernels/weight.ts';
import type { Profile } from '../../scheduler/profile.ts';
import { MatrixProducts } from './matrix-products.ts';
import { Orthonormalizer, type QrMethod } from './orthonormalizer.ts';

/** How far to go: one of these. */
export interface SvdTarget {
  /** Singular values to keep: from 1 to the smaller side. */
  readonly rank?: number;
  /** The least share of ‖A‖² (sum of squares) that the kept singular values have, above 0 and up to 1. */
  readonly energy?: number;
  /** The largest ‖A − A_r‖ / ‖A‖ (Frobenius), from 0 and below 1. */
  readonly tolerance?: number;
}

/** Cancellation, and what messages call the matrix. */
export interface SvdOptions {
  readonly signal?: AbortSignal;
  /** Called as steps of the method finish. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Collects the time of each step. */
  readonly profile?: Profile;
  /** What messages call the matrix; default: the matrix. */
  readonly name?: string;
}

export interface RandomizedSvdOptions extends SvdTarget, SvdOptions {
  /** Columns of the sketch beyond the rank; default 10. */
  readonly oversampling?: number;
  /** Times that the sketch is multiplied with A and its transpose again; default 2. */
  readonly powerIterations?: number;
  /** A whole number from 0 below 2^32; default 0. */
  readonly seed?: number;
}

/** A ≈ U diag(S) Vᵀ, on the GPU. */
export interface Svd {
  readonly rank: number;
  /** f32 [rows of A, rank], orthonormal columns. */
  readonly u: BufferView;
  /** f32 [columns of A, rank], orthonormal columns. */
  readonly v: BufferView;
  /** Largest first. */
  readonly singularValues: Float32Array<ArrayBuffer>;
  /** The columns that were computed: the rank and the oversampling, or the smaller side. */
  readonly sketch: number;
  /** How the two bases were made orthonormal. */
  readonly qr: readonly [QrMethod, QrMethod];
  /** Frees U and V. */
  release(): void;
}

const DEFAULTS = { oversampling: 10, powerIterations: 2, seed: 0 };
/** Where the rank is found, what is tried first. */
const FIRST_RANK = 32;
/** A sketch of that share of the smaller side and more costs as much as all of it. */
const MOST_SHARE = 0.5;
/** Squares of kept values and ‖A‖² are known to that share in f32: what is left over is asked of all singular values. */
const RESOLVED = 1e-5;

/**
 * The largest singular values of a matrix and their vectors, by a random sketch with power iterations, orthonormal at each (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1). Where
 * a share of ‖A‖² or an error is wanted instead of a rank, the sketch is doubled until it has it.
 * Besides A [m, n], U and V it takes at most 4 (2 m + 2 n + max(m, n)) (l + 3) + 170 max(m, n) + 40 l² bytes and 6 MiB for l columns of the sketch.
 * @param matrix f32, in one part or several; it stays as it is
 * @throws ArgumentError for a rank below 1 or above the smaller side, an energy outside (0, 1], a tolerance outside [0, 1), and other options that make no sense
 * @throws NonFiniteError for NaN and infinities
 * @throws CancelledError, DeviceLostError, OutOfMemoryError, ConvergenceError
 */
export async function randomizedSvd(gpu: Gpu, matrix: Weight, options: RandomizedSvdOptions): Promise<Svd> {
  const { oversampling, powerIterations, seed } = { ...DEFAULTS, ...options };
  const side = Math.min(matrix.rows, matrix.k);
  checkRandomizedSvd(options, side);
  const a = await MatrixProducts.open(gpu, matrix, runOptions(options), options.name);
  const columnsFor = (rank: number) => Math.min(side, 4 * Math.ceil((rank + oversampling) / 4));
  const { rank } = options;
  if (rank !== undefined) {
    return factor(gpu, a, { columns: columnsFor(rank), keep: () => rank, powerIterations, seed }, options);
  }
  const total = await a.squaredNorm(runOptions(options));
  const allowed = options.energy === undefined ? options.tolerance! ** 2 : 1 - options.energy;
  for (let kept = FIRST_RANK; ; kept *= 2) {
    const columns = columnsFor(kept);
    const whole = allowed < RESOLVED || columns >= MOST_SHARE * side;
    const keep: Keep = (values) => (whole ? fewestOf(values, allowed) : fewestOfLargest(values, allowed, total));
    const plan = { columns: whole ? side : columns, keep, powerIterations, seed };
    const found = await factor(gpu, a, plan, options);
    if (found) return found;
  }
}

/**
 * The singular value decomposition of a matrix: of all of it (two QR factorizations and one-sided Jacobi), or where the rank is a small part of it by `randomizedSvd`.
 * @param matrix f32, in one part or several; it stays as it is
 * @param options without a target: all singular values, U [m, min(m, n)], V [n, min(m, n)]
 * @throws as `randomizedSvd`
 */
export async function svd(gpu: Gpu, matrix: Weight, options: RandomizedSvdOptions = {}): Promise<Svd> {
  const side = Math.min(matrix.rows, matrix.k);
  const { rank, energy, tolerance } = options;
  const none = rank === undefined && energy === undefined && tolerance === undefined;
  if (!none) checkRandomizedSvd(options, side);
  const { oversampling } = { ...DEFAULTS, ...options };
  if (!none && (rank ?? FIRST_RANK) + oversampling < MOST_SHARE * side) return randomizedSvd(gpu, matrix, options);
  const a = await MatrixProducts.open(gpu, matrix, runOptions(options), options.name);
  const allowed = energy === undefined ? (tolerance ?? 0) ** 2 : 1 - energy;
  const keep = (values: Float32Array) => rank ?? (none ? side : fewestOf(values, allowed));
  return factor(gpu, a, { columns: side, keep, powerIterations: 0, seed: 0 }, options);
}

/** @throws ArgumentError for options that make no sense for a matrix whose smaller side is `side`. */
export function checkRandomizedSvd(options: Omit<RandomizedSvdOptions, 'onProgress'>, side: number): void {
  const { rank, energy, tolerance, name = 'the matrix' } = options;
  if ([rank, energy, tolerance].filter((value) => value !== undefined).length !== 1) {
    throw new ArgumentError('Give one of rank, energy and tolerance.');
  }
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1 && rank <= side)) {
    throw new ArgumentError(`The rank is ${rank}: give a whole number from 1 to ${side}, the smaller side of ${name}.`);
  }
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new ArgumentError(`The energy is ${energy}: give a number above 0 and up to 1.`);
  }
  if (tolerance !== undefined && !(tolerance >= 0 && tolerance < 1)) {
    throw new ArgumentError(`The tolerance is ${tolerance}: give a number from 0 and below 1.`);
  }
  const { oversampling, powerIterations, seed } = { ...DEFAULTS, ...options };
  for (const [option, value] of Object.entries({ oversampling, powerIterations, seed })) {
    const most = option === 'powerIterations' ? 100 : 2 ** 32 - 1;
    if (!Number.isInteger(value) || value < 0 || value > most) {
      throw new ArgumentError(`${option} is ${value}: give a whole number from 0 to ${most}.`);
    }
  }
}

const runOptions = ({ signal, profile }: SvdOptions) => ({
  label: 'The factorization',
  ...(signal && { signal }),
  ...(profile && { profile }),
});

type Keep = (values: Float32Array) => number | undefined;

/** The fewest of all singular values that leave no more than a share of the sum of squares. */
function fewestOf(values: Float32Array, allowed: number): number {
  const squares = Array.from(values, (value) => value * value);
  const most = allowed * squares.reduce((sum, square) => sum + square, 0);
  let left = 0;
  for (let rank = squares.length; rank > 1; rank--) {
    left += squares[rank - 1]!;
    if (left > most) return rank;
  }
  return 1;
}

/** The same of the largest ones, `total` being the sum of squares of all; undefined where they are too few. */
function fewestOfLargest(values: Float32Array, allowed: number, total: number): number | undefined {
  let left = total;
  for (const [i, value] of values.entries()) {
    left -= value * value;
    if (left <= allowed * total) return i + 1;
  }
  return undefined;
}

interface Plan {
  /** Of the sketch; as many as the smaller side: no sketch, A itself. */
  readonly columns: number;
  /** The rank, of the singular values of A times its scale; undefined: too few columns. */
  readonly keep: Keep;
  readonly powerIterations: number;
  readonly seed: number;
}

async function factor(
  gpu: Gpu,
  a: MatrixProducts,
  plan: Plan & { keep: (values: Float32Array) => number },
  options: SvdOptions,
): Promise<Svd>;
async function factor(gpu: Gpu, a: MatrixProducts, plan: Plan, options: SvdOptions): Promise<Svd | undefined>;
async function factor(gpu: Gpu, a: MatrixProducts, plan: Plan, options: SvdOptions): Promise<Svd | undefined> {
  const { rows, columns: side } = a;
  const l = plan.columns;
  const width = 4 * Math.ceil(l / 4);
  const whole = l === side;
  const power = whole ? 0 : plan.powerIterations;
  const run = runOptions(options);
  const scratch = new Scratch(gpu);
  const room = (high: number, label: string): MatrixView => ({ ...scratch.room(4 * high * width, label), width });
  let done = 0;
  const step = () => options.onProgress?.(++done, 2 * power + 5);
  let qr: Orthonormalizer | undefined;
  try {
    const [y, q, z, p] = [
      room(rows, 'sketch'),
      room(rows, 'left basis'),
      room(side, 'products'),
      room(side, 'right basis'),
    ];
    const parts = scratch.room(Math.max(a.scratchBytes(l), gemmScratch(l, l, side)), 'parts').buffer;
    qr = new Orthonormalizer(gpu, rows, l);
    const first = whole
      ? a.copy(y, scratch.upload(new Float32Array(rows).fill(a.scale), 'scales').buffer)
      : a.times({ seed: plan.seed }, y, l, parts);
    await gpu.scheduler.run(first, run);
    step();
    for (let i = 0; i < power; i++) {
      await gpu.scheduler.run(
        [
          ...qr.roughSteps(y, q, rows, l),
          ...a.transposedTimes(q, z, l, parts),
          ...qr.roughSteps(z, p, side, l),
          ...a.times(p, y, l, parts),
        ],
        run,
      );
      step();
      step();
    }
    const left = await qr.orthonormalize(y, q, rows, l, run);
    step();
    await gpu.scheduler.run(a.transposedTimes(q, z, l, parts), run);
    const right = await qr.orthonormalize(z, p, side, l, run);
    step();
    // Bᵀ = Aᵀ Q = P R, and R = Ur S Wᵀ: A ≈ Q B = (Q W) S (P Ur)ᵀ.
    const x = scratch.room(4 * l * l, 'triangle');
    await gpu.scheduler.run(
      gemmSteps({
        ...{ a: { ...p, transposed: true }, b: z, c: { ...x, width: l, transposed: true } },
        ...{ rows: l, columns: l, inner: side, scratch: { buffer: parts } },
      }),
      run,
    );
    const small = await smallSvd(gpu, scratch, x, l, run);
    step();
    const rank = plan.keep(small.values);
    if (rank === undefined) return undefined;
    // The bases of the small problem, into room that is free again.
    const [w, ur] = [
      { ...y, width },
      { ...z, width },
    ];
    await qr.orthonormalize({ ...small.basis, width: l, transposed: true }, w, l, l, run);
    await qr.orthonormalize({ ...small.vectors, width: l, transposed: true }, ur, l, l, run);
    const out = new Scratch(gpu);
    try {
      const [long, short] = [out.room(4 * rows * rank, 'vectors'), out.room(4 * side * rank, 'vectors')];
      const own = scratch.room(Math.max(4, gemmScratch(rows, rank, l), gemmScratch(side, rank, l)), 'parts');
      const shared = { columns: rank, inner: l, variant: usualGemm(gpu), scratch: own };
      await gpu.scheduler.run(
        [
          ...gemmSteps({ a: q, b: w, c: { ...long, width: rank }, rows, ...shared, label: 'vectors' }),
          ...gemmSteps({ a: p, b: ur, c: { ...short, width: rank }, rows: side, ...shared, label: 'vectors' }),
        ],
        run,
      );
      step();
      const [u, v] = a.wide ? [short, long] : [long, short];
      const singularValues = small.values.slice(0, rank).map((value) => value / a.scale);
      return { rank, u, v, singularValues, sketch: l, qr: [left, right], release: () => out.release() };
    } catch (error) {
      out.release();
      throw error;
    }
  } finally {
    qr?.release();
    scratch.release();
  }
}

/** The SVD of the transpose of x [n, n], which is lost: rows of `vectors` are σ's left vectors, of `basis` its right ones. */
async function smallSvd(gpu: Gpu, scratch: Scratch, x: BufferView, n: number, run: ReturnType<typeof runOptions>) {
  const square = (label: string) => scratch.room(4 * n * n, label);
  const [turns, vectors, basis] = [square('turns'), square('vectors'), square('basis')];
  const [norms, sorted] = [scratch.room(4 * n, 'norms'), scratch.room(4 * n, 'singular values')];
  const state = scratch.room(4 * JACOBI_STATE, 'state of jacobi');
  gpu.clear(state.buffer, 4 * JACOBI_STATE);
  const shared = { values: norms, sorted, rows: n, length: n };
  await gpu.scheduler.run(
    [
      ...jacobiSteps({ x, vectors: n, length: n, basis: turns, state }),
      rowNormsStep(x, n, n, norms, 'jacobi'),
      sortRowsStep({ ...shared, x, out: vectors, normalize: true }),
      sortRowsStep({ ...shared, x: turns, out: basis }),
    ],
    run,
  );
  const [converged, , sweeps] = new Uint32Array((await gpu.readBack(state.buffer, 0, 4 * JACOBI_STATE)).buffer);
  if (converged !== 1) {
    throw new ConvergenceError(`The singular values of a ${n} x ${n} matrix did not converge in ${sweeps} sweeps.`);
  }
  const values = new Float32Array((await gpu.readBack(sorted.buffer, 0, 4 * n)).buffer);
  return { vectors, basis, values };
}
