import permuteSymmetric from '../../shaders/algebra/permute_symmetric.wgsl';
import scaleSymmetric from '../../shaders/algebra/scale_symmetric.wgsl';
import addGathered from '../../shaders/gptq/add_gathered.wgsl';
import gatherColumns from '../../shaders/gptq/gather_columns.wgsl';
import scatterCodes from '../../shaders/gptq/scatter_codes.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** out[i, j] = matrix[order[i], order[j]], f32 [n, n], with `damping` added on the diagonal. @throws ArgumentError */
export function permuteSymmetricStep(args: {
  /** f32 [width, width] */
  readonly matrix: BufferView;
  /** u32 [n], below `width` each */
  readonly order: BufferView;
  readonly out: BufferView;
  readonly n: number;
  /** Default: n, all of the matrix. */
  readonly width?: number;
  readonly damping: number;
}): Step {
  const { n, width = n, damping } = args;
  const label = 'permute H';
  checkSizes(label, { n, rows: n });
  checkSizes(label, { width, height: width });
  return {
    label,
    ...each(n * n, { source: permuteSymmetric }),
    bindings: [
      reads(label, 'matrix', args.matrix, width * width),
      reads(label, 'order', args.order, n),
      writes(label, 'out', args.out, n * n),
    ],
    params: packParams(n, width, { f32: damping }),
    bytes: 8 * n * n,
  };
}

/** matrix[i, j] = matrix[i, j] · factors[i] · factors[j]: f32 [n, n], factors f32 [n]. @throws ArgumentError */
export function scaleSymmetricStep(args: {
  readonly matrix: BufferView;
  readonly factors: BufferView;
  readonly n: number;
}): Step {
  const { matrix, factors, n } = args;
  const label = 'scale H';
  checkSizes(label, { n, rows: n });
  return {
    label,
    ...each(n * n, { source: scaleSymmetric }),
    bindings: [reads(label, 'factors', factors, n), writes(label, 'matrix', matrix, n * n)],
    params: packParams(n),
    bytes: 8 * n * n,
  };
}

/** out[i, row] = weights[row, order[i]]: f32 [rows, k] to [k, rows]. @throws ArgumentError */
export function gatherColumnsStep(args: {
  readonly weights: BufferView;
  /** u32 [k] */
  readonly order: BufferView;
  readonly out: BufferView;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { rows, k } = args;
  const label = 'gather columns';
  checkSizes(label, { rows, k });
  return {
    label,
    ...each(rows * k, { source: gatherColumns }),
    bindings: [
      reads(label, 'weights', args.weights, rows * k),
      reads(label, 'order', args.order, k),
      writes(label, 'out', args.out, rows * k),
    ],
    params: packParams(rows, k),
    bytes: 8 * rows * k,
  };
}

/** Chosen codes, u32 [k, rows], as bytes [rows, k], padded to a word: what `packStep` takes. @throws ArgumentError */
export function scatterCodesStep(args: {
  readonly chosen: BufferView;
  /** u32 [k]: the row of `chosen` that each column is, the inverse of the order. */
  readonly place: BufferView;
  readonly codes: BufferView;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { rows, k } = args;
  const label = 'scatter codes';
  checkSizes(label, { rows, k });
  const words = Math.ceil((rows * k) / 4);
  return {
    label,
    ...each(words, { source: scatterCodes }),
    bindings: [
      reads(label, 'chosen', args.chosen, rows * k),
      reads(label, 'place', args.place, k),
      writes(label, 'codes', args.codes, words),
    ],
    params: packParams(rows, k),
    bytes: 5 * rows * k,
  };
}

/** weights[row, column] += share · x[row, place[column]]: f32 [rows, k] both. @throws ArgumentError */
export function addGatheredStep(args: {
  readonly x: BufferView;
  /** u32 [k] */
  readonly place: BufferView;
  readonly weights: BufferView;
  readonly share: number;
  readonly rows: number;
  readonly k: number;
}): Step {
  const { rows, k, share } = args;
  const label = 'add columns';
  checkSizes(label, { rows, k });
  return {
    label,
    ...each(rows * k, { source: addGathered }),
    bindings: [
      reads(label, 'x', args.x, rows * k),
      reads(label, 'place', args.place, k),
      writes(label, 'weights', args.weights, rows * k),
    ],
    params: packParams(rows, k, { f32: share }),
    bytes: 12 * rows * k,
  };
}
