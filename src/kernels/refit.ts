import codeErrors from '../../shaders/refit/code_errors.wgsl';
import conjugateGradients from '../../shaders/refit/conjugate_gradients.wgsl';
import expand from '../../shaders/refit/expand.wgsl';
import reduce from '../../shaders/refit/reduce.wgsl';
import scaleStored from '../../shaders/refit/scale_stored.wgsl';
import type { ElementType, Grid } from '../formats/format.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Marked, slotsOf } from './mark-columns.ts';
import { transposedProductStep } from './transposed-product.ts';

/** Weights and what is lost in them, column by column in the order of `order`: f32 [k, rows] each. */
export interface ColumnsInOrder {
  readonly weights: BufferView;
  /** w − ŵ */
  readonly errors: BufferView;
  /** u32 [k]: the column at each place. */
  readonly order: BufferView;
  /** u32 [k]: the place of each column. */
  readonly place: BufferView;
  /** u32 [k, rows]: codes, with the marks of `markColumnsStep` above them where a mask leaves weights out. */
  readonly chosen: BufferView;
  readonly marked?: Marked | undefined;
  /** f32x2 [gridRows, slots / grid.group]: scale and offset, as `gridStep` gives them; slots are columns unless weights are packed. */
  readonly scales: BufferView;
  readonly gridRows: number;
  /** The row of `scales` that is the first of `weights`; default 0. */
  readonly firstRow?: number;
  readonly rows: number;
  readonly k: number;
}

/** Computes errors anew from the codes that there are: after their scales have changed, or where codes come from elsewhere. @throws ArgumentError */
export function codeErrorsStep(
  args: ColumnsInOrder & {
    readonly grid: Grid;
    /** f32: `grid.levels`. */
    readonly levels: BufferView;
  },
): Step {
  const { weights, errors, order, chosen, marked, scales, gridRows, firstRow = 0, grid, levels, rows, k } = args;
  const label = 'errors of codes';
  checkSizes(label, { rows, k });
  const groups = slotsOf(marked, k) / grid.group;
  return {
    label,
    ...each(k * rows, { source: codeErrors, constants: { MARKED: Number(marked !== undefined) } }),
    bindings: [
      reads(label, 'weights', weights, k * rows),
      reads(label, 'chosen', chosen, k * rows),
      reads(label, 'scales', scales, 2 * gridRows * groups),
      reads(label, 'order', order, k),
      reads(label, 'levels', levels, grid.levels.length),
      writes(label, 'errors', errors, k * rows),
    ],
    params: packParams(k, rows, grid.group, firstRow, groups),
    bytes: 12 * k * rows,
  };
}

/** What re-fitting scales reads and writes. */
export interface RefitArguments extends ColumnsInOrder {
  /** f32 [k, k]: H in the order of `order`. */
  readonly hessian: BufferView;
  readonly grid: Pick<Grid, 'group'>;
  /** Weights of a row that share a stored scale. */
  readonly unit: number;
  /** 2: offsets are stored by themselves and fitted, too. */
  readonly parts: 1 | 2;
  readonly iterations: number;
  /** f32 [k, rows] each. */
  readonly scratch: readonly [BufferView, BufferView];
  /** f32 [parts, slots / unit, rows]; the first of the five receives what `scaleStoredStep` takes. */
  readonly systems: readonly [BufferView, BufferView, BufferView, BufferView, BufferView];
}

/**
 * With codes fixed, the scales and offsets that minimize tr(ΔW H ΔWᵀ): for each row a linear system, (T H Tᵀ) δ = T H e, e being what is lost and T the
 * weights by unit, below them their offsets alone, where these are stored; solved by conjugate gradients for all rows at once, so that the work
 * is products with H. A unit's scale changes by the factor 1 + δ, its offset by 1 + δ + δ', which keeps both nearly independent of each other.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function refitSteps(args: RefitArguments): Step[] {
  const {
    hessian,
    weights,
    errors,
    order,
    place,
    scales,
    gridRows,
    firstRow = 0,
    grid,
    unit,
    parts,
    iterations,
    chosen,
    marked,
  } = args;
  const { rows, k } = args;
  const label = 'refit';
  checkSizes(label, { rows, k });
  const slots = slotsOf(marked, k);
  const units = slots / unit;
  checkSizes(label, { units, parts, systems: rows });
  const [expanded, y] = args.scratch;
  const [solution, residual, direction, product, diagonal] = args.systems;
  const unknowns = parts * units;
  const groups = slots / grid.group;
  const { keep, of } = marked?.packing ?? { keep: 1, of: 1 };
  const params = packParams(k, rows, unit, grid.group, firstRow, slots, keep, of);
  const constants = { PARTS: parts, MARKED: Number(marked !== undefined) };
  const big = (name: string, view: BufferView) => reads(label, name, view, k * rows);
  const small = (name: string, view: BufferView) => reads(label, name, view, unknowns * rows);
  const values = [
    big('weights', weights),
    big('errors', errors),
    reads(label, 'scales', scales, 2 * gridRows * groups),
    big('chosen', chosen),
  ];
  const multiply = (b: BufferView): Step =>
    transposedProductStep({
      a: { ...hessian, width: k },
      b: { ...b, width: rows },
      ...{ c: y, rows: k, columns: rows, from: 0, to: k, label: `${label}: product` },
    });
  const reduced = (out: BufferView, isDiagonal: boolean): Step => ({
    label: `${label}: reduce`,
    ...each(unknowns * rows, { source: reduce, constants: { ...constants, DIAGONAL: Number(isDiagonal) } }),
    bindings: [
      ...values,
      isDiagonal ? reads(label, 'hessian', hessian, k * k) : big('scratch', y),
      reads(label, 'place', place, k),
      writes(label, 'systems', out, unknowns * rows),
    ],
    params,
  });
  const descend = (first: boolean): Step => ({
    label: `${label}: conjugate gradients`,
    ...each(rows, { source: conjugateGradients, constants: { FIRST: Number(first) } }),
    bindings: [
      small('product', product),
      small('diagonal', diagonal),
      ...[solution, residual, direction].map((view) => writes(label, 'systems', view, unknowns * rows)),
    ],
    params: packParams(unknowns, rows),
  });
  const expandedDirection: Step = {
    label: `${label}: expand`,
    ...each(k * rows, { source: expand, constants }),
    bindings: [
      ...values,
      small('direction', direction),
      reads(label, 'order', order, k),
      writes(label, 'scratch', expanded, k * rows),
    ],
    params,
  };
  const iteration = [expandedDirection, multiply(expanded), reduced(product, false), descend(false)];
  return [
    multiply(errors),
    reduced(product, false),
    reduced(diagonal, true),
    descend(true),
    ...Array.from({ length: iterations }, () => iteration).flat(),
  ];
}

const TYPES: Partial<Record<ElementType, number>> = { F32: 0, F16: 1, BF16: 2 };

/** What stored floats are to the weights of a unit: scales, offsets, zero points (offsets in units of the scale), or a scale and an offset in turns. */
export const STORED_ROLES = ['scale', 'offset', 'zero', 'scale and offset'] as const;
export type StoredRole = (typeof STORED_ROLES)[number];

/**
 * Multiplies stored scales, offsets or zero points of some rows by the factors that were fitted, rounded to their type.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function scaleStoredStep(args: {
  /** f32 [parts, units, rows]: what `refitSteps` found. */
  readonly change: BufferView;
  readonly parts: 1 | 2;
  readonly role: StoredRole;
  /** [rows, units · perUnit] of `type`. */
  readonly stored: BufferView;
  readonly type: ElementType;
  readonly rows: number;
  readonly units: number;
  readonly perUnit: number;
}): Step {
  const { change, parts, role, stored, type, rows, units, perUnit } = args;
  const label = 'scale the scales';
  const count = rows * units * perUnit;
  checkSizes(label, { count });
  const words = type === 'F32' ? count : Math.ceil(count / 2);
  const constants = { TYPE: TYPES[type]!, ROLE: STORED_ROLES.indexOf(role), PARTS: parts };
  return {
    label,
    ...each(words, { source: scaleStored, constants }),
    bindings: [reads(label, 'change', change, parts * units * rows), writes(label, 'stored', stored, words)],
    params: packParams(rows, units, perUnit, count),
  };
}
