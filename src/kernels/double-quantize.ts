import nestedCodes from '../../shaders/quantize/nested_codes.wgsl';
import nestedMean from '../../shaders/quantize/nested_mean.wgsl';
import nestedSums from '../../shaders/quantize/nested_sums.wgsl';
import { ArgumentError } from '../errors.ts';
import { NESTED } from '../formats/double-quantize.ts';
import { type BufferView, grid1d, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';
import { bindArray } from './bind-arrays.ts';

/** Kernels index groups with 32 bits. */
const MAX_GROUPS = 2 ** 32 - 1024;

/** What quantizing the scales of a matrix reads and writes. */
export interface DoubleQuantizeArguments {
  /** f32 [groups]: all scales of the matrix, finite and not negative. */
  readonly scales: BufferView;
  readonly groups: number;
  /** A byte for each, padded to a word. */
  readonly codes: BufferView;
  /** f32 [⌈groups / 256⌉, 2] */
  readonly nested: BufferView;
  /** Names the tensor in labels and errors. */
  readonly name?: string;
}

/**
 * Quantizes scales once more, as `doubleQuantize` does, bit for bit.
 * @throws ArgumentError for buffers that are too small
 */
export function doubleQuantizeSteps(args: DoubleQuantizeArguments): Step[] {
  const { groups, name = 'weight' } = args;
  const label = `quantize scales of ${name}`;
  if (!Number.isInteger(groups) || groups < 1 || groups > MAX_GROUPS) {
    throw new ArgumentError(`${label}: ${groups} scales; give 1 to ${MAX_GROUPS}.`);
  }
  const blocks = Math.ceil(groups / NESTED);
  const scales = bindArray(label, 'scales', args.scales, 4 * groups, read);
  const nested = bindArray(label, 'nested', args.nested, 8 * blocks, readWrite);
  const codes = bindArray(label, 'codes', args.codes, Math.ceil(groups / 4) * 4, readWrite);
  const shift = Math.ceil(Math.log2(groups));
  const params = packParams(groups, shift, { f32: groups * 2 ** -shift });
  return [
    {
      ...{ label, kernel: { source: nestedSums }, bindings: [scales, nested], params },
      ...{ grid: grid1d(blocks), bytes: 4 * groups },
    },
    { label, kernel: { source: nestedMean }, bindings: [nested], params, grid: [1, 1, 1] },
    {
      ...{ label, kernel: { source: nestedCodes }, bindings: [scales, nested, codes], params },
      ...{ grid: grid1d(blocks), bytes: 5 * groups },
    },
  ];
}
