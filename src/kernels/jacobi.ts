import identity from '../../shaders/algebra/identity.wgsl';
import round from '../../shaders/algebra/jacobi_round.wgsl';
import sweep from '../../shaders/algebra/jacobi_sweep.wgsl';
import rowNorms from '../../shaders/algebra/row_norms.wgsl';
import sortRows from '../../shaders/algebra/sort_rows.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** Words of the state: see jacobi_round.wgsl. */
export const JACOBI_STATE = 5;
const BLOCK = 16;
/** Far more than it takes: convergence is quadratic. */
export const JACOBI_SWEEPS = 20;

/** What one-sided Jacobi reads and writes. */
export interface JacobiArguments {
  /** f32 [vectors, length]: becomes σ_i u_i, rows. Finite, its squares neither over- nor underflow. */
  readonly x: BufferView;
  readonly vectors: number;
  readonly length: number;
  /** f32 [vectors, vectors]: becomes the basis: new row i of `x` is Σ_j basis[i, j] · old row j. */
  readonly basis: BufferView;
  /** u32 [JACOBI_STATE], zero before; its first word is 1 once converged. */
  readonly state: BufferView;
  readonly label?: string;
}

/** Cosine between two rows that counts as none; what is left is gone after the sweep that finds no more. */
const TOLERANCE = 1e-5;
/** And what a row may have of the direction of another, as a share of the largest norm. */
const FLOOR = 2e-7;

/**
 * Rotates rows until they are orthogonal: the singular value decomposition of xᵀ by one-sided Jacobi (Hestenes), in blocks of sixteen rows, of which each workgroup takes two
 * (Bečka, Okša, Vajteršic 2002). Whether a sweep is still needed is decided on the GPU; the steps of those that are not end at once.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function jacobiSteps(args: JacobiArguments): Step[] {
  const { x, vectors, length, basis, state, label = 'jacobi' } = args;
  checkSizes(label, { vectors, length });
  checkSizes(label, { vectors, basis: vectors });
  const blocks = 2 * Math.ceil(vectors / BLOCK / 2);
  const bindings = [
    writes(label, 'x', x, vectors * length),
    writes(label, 'basis', basis, vectors * vectors),
    writes(label, 'state', state, JACOBI_STATE),
  ];
  const between: Step = {
    label: `${label}: sweep`,
    kernel: { source: sweep },
    bindings: [bindings[2]!],
    grid: [1, 1, 1],
  };
  const rounds = Array.from(
    { length: blocks - 1 },
    (_, i): Step => ({
      label: `${label}: round`,
      kernel: { source: round },
      bindings,
      params: packParams(vectors, length, i, blocks, { f32: TOLERANCE }, { f32: FLOOR }),
      grid: [blocks / 2, 1, 1],
    }),
  );
  return [
    {
      label: `${label}: identity`,
      ...each(vectors * vectors, { source: identity }),
      bindings: [bindings[1]!],
      params: packParams(vectors),
    },
    ...Array.from({ length: JACOBI_SWEEPS }, () => [between, ...rounds]).flat(),
    between,
  ];
}

/** norms[row] of x [rows, length]. */
export function rowNormsStep(x: BufferView, rows: number, length: number, norms: BufferView, label: string): Step {
  return {
    label: `${label}: norms`,
    kernel: { source: rowNorms },
    bindings: [reads(label, 'x', x, rows * length), writes(label, 'norms', norms, rows)],
    params: packParams(length),
    grid: [rows, 1, 1],
  };
}

/** What sorting rows reads and writes. */
export interface SortRowsArguments {
  /** f32 [rows]: larger ones come first. */
  readonly values: BufferView;
  /** f32 [rows, length] */
  readonly x: BufferView;
  readonly out: BufferView;
  /** f32 [rows]: the values in order, times `factor`. */
  readonly sorted: BufferView;
  readonly rows: number;
  readonly length: number;
  /** Default 1. */
  readonly factor?: number;
  /** Divides each row by its value. */
  readonly normalize?: boolean;
  readonly label?: string;
}

export function sortRowsStep(args: SortRowsArguments): Step {
  const { values, x, out, sorted, rows, length, factor = 1, normalize = false, label = 'sort' } = args;
  return {
    label: `${label}: sorting`,
    kernel: { source: sortRows, constants: { NORMALIZE: Number(normalize) } },
    bindings: [
      reads(label, 'values', values, rows),
      reads(label, 'x', x, rows * length),
      writes(label, 'out', out, rows * length),
      writes(label, 'sorted', sorted, rows),
    ],
    params: packParams(rows, length, { f32: factor }),
    grid: [rows, 1, 1],
  };
}
