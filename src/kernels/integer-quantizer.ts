import intMiddle from '../../shaders/quantize/int_middle.wgsl';
import intMiddleSearch from '../../shaders/quantize/int_middle_search.wgsl';
import intZero from '../../shaders/quantize/int_zero.wgsl';
import intZeroHqq from '../../shaders/quantize/int_zero_hqq.wgsl';
import intZeroSearch from '../../shaders/quantize/int_zero_search.wgsl';
import type { Format, QuantizeMethod } from '../formats/format.ts';
import { trialRatios } from '../formats/integer-search.ts';
import { groupOf, shaderConstants } from '../formats/layout.ts';
import type { Quantizer } from './quantize.ts';

/** The quantizer of integer groups for rows of `k` weights, by a method that the format offers. */
export function integerQuantizer(format: Format, k: number, method: QuantizeMethod): Quantizer {
  const { bits, zero } = format.integer!;
  const constants = shaderConstants(format, k);
  const group = groupOf(format, k);
  // Enough groups for whole words: of floats with 16 bits, of zero points, and of codes with three bits, which straddle words.
  const own = zero === 'code' ? 32 / constants.ZERO_BITS! : 2;
  const shared = { ...constants, GROUP: group, BITS: bits, OWN: own };
  const weightsPerThread = own * group;
  if (method === 'hqq') return { source: intZeroHqq, constants: shared, weightsPerThread };
  if (method === 'rtn') return { source: zero === 'middle' ? intMiddle : intZero, constants: shared, weightsPerThread };
  const { count, first, step } = trialRatios(format.integer!);
  return {
    source: zero === 'middle' ? intMiddleSearch : intZeroSearch,
    constants: { ...shared, TRIALS: count, FIRST: first, STEP: step },
    weightsPerThread,
    weighs: true,
  };
}
