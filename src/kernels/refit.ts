import codeErrors from '../../shaders/refit/code_errors.wgsl';
import conjugateGradients from '../../shaders/refit/conjugate_gradients.wgsl';
import expand from '../../shaders/refit/expand.wgsl';
import reduce from '../../shaders/refit/reduce.wgsl';
import scaleStored from '../../shaders/refit/scale_stored.wgsl';
import type { ElementType, Grid } from '../formats/format.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
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
  readonly rows: number;
  readonly k: number;
}

/** Computes errors anew from the codes that there are: after their scales have changed, or where codes come from elsewhere. @throws ArgumentError */
export function codeErrorsStep(
  args: ColumnsInOrder & {
    /** u32 [k, rows] */
    readonly chosen: BufferView;
    /** f32x2 [gridRows, k / grid.group] */
    readonly scales: BufferView;
    readonly gridRows: number;
    readonly firstRow?: number;
    readonly grid: Grid;
    /** f32: `grid.levels`. */
    readonly levels: BufferView;
  },
): Step {
  const { weights, errors, order, chosen, scales, gridRows, firstRow = 0, grid, levels, rows, k } = args;
  const label = 'errors of codes';
  checkSizes(label, { rows, k });
  const groups = k / grid.group;
  return {
    label,
    ...each(k * rows, { source: codeErrors }),
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
  /** Weights of a row that share a stored scale. */
  readonly unit: number;
  readonly iterations: number;
  /** f32 [k, rows] each. */
  readonly scratch: readonly [BufferView, BufferView];
  /** f32 [5, k / unit, rows]; the first of the five receives how much each scale changes, relative to itself. */
  readonly systems: readonly [BufferView, BufferView, BufferView, BufferView, BufferView];
}

/**
 * With codes fixed, the scales that minimize tr(ΔW H ΔWᵀ): for each row a linear system over its units, (T H Tᵀ) δ = T H e, T being the values by unit
 * and e what is lost; solved by conjugate gradients for all rows at once, so that the work is products with H.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function refitSteps(args: RefitArguments): Step[] {
  const { hessian, weights, errors, order, place, unit, iterations, rows, k } = args;
  const label = 'refit';
  checkSizes(label, { rows, k });
  checkSizes(label, { units: k / unit });
  const [expanded, y] = args.scratch;
  const [solution, residual, direction, product, diagonal] = args.systems;
  const units = k / unit;
  const params = packParams(k, rows, unit);
  const big = (name: string, view: BufferView) => reads(label, name, view, k * rows);
  const small = (name: string, view: BufferView) => reads(label, name, view, units * rows);
  const multiply = (b: BufferView): Step =>
    transposedProductStep({
      a: { ...hessian, width: k },
      b: { ...b, width: rows },
      ...{ c: y, rows: k, columns: rows, from: 0, to: k, label: `${label}: product` },
    });
  const reduced = (out: BufferView, isDiagonal: boolean): Step => ({
    label: `${label}: reduce`,
    ...each(units * rows, { source: reduce, constants: { DIAGONAL: Number(isDiagonal) } }),
    bindings: [
      big('weights', weights),
      big('errors', errors),
      isDiagonal ? reads(label, 'hessian', hessian, k * k) : big('scratch', y),
      reads(label, 'place', place, k),
      writes(label, 'systems', out, units * rows),
    ],
    params,
  });
  const descend = (first: boolean): Step => ({
    label: `${label}: conjugate gradients`,
    ...each(rows, { source: conjugateGradients, constants: { FIRST: Number(first) } }),
    bindings: [
      small('product', product),
      small('diagonal', diagonal),
      ...[solution, residual, direction].map((view) => writes(label, 'systems', view, units * rows)),
    ],
    params: packParams(units, rows),
  });
  const expandedDirection: Step = {
    label: `${label}: expand`,
    ...each(k * rows, { source: expand }),
    bindings: [
      big('weights', weights),
      big('errors', errors),
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

/**
 * Multiplies the stored scales of some rows by 1 + change, rounded to their type.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function scaleStoredStep(args: {
  /** f32 [units, rows] */
  readonly change: BufferView;
  /** [rows, units · perUnit] of `type`. */
  readonly stored: BufferView;
  readonly type: ElementType;
  readonly rows: number;
  readonly units: number;
  readonly perUnit: number;
}): Step {
  const { change, stored, type, rows, units, perUnit } = args;
  const label = 'scale the scales';
  const count = rows * units * perUnit;
  checkSizes(label, { count });
  const words = type === 'F32' ? count : Math.ceil(count / 2);
  return {
    label,
    ...each(words, { source: scaleStored, constants: { TYPE: TYPES[type]! } }),
    bindings: [reads(label, 'change', change, units * rows), writes(label, 'stored', stored, words)],
    params: packParams(rows, units, perUnit, count),
  };
}
