import intMiddle from '../../shaders/quantize/int_middle.wgsl';
import intZero from '../../shaders/quantize/int_zero.wgsl';
import type { Format } from '../formats/format.ts';
import { groupOf, shaderConstants } from '../formats/layout.ts';
import type { Quantizer } from './quantize.ts';

/** The quantizer of integer groups for rows of `k` weights. */
export function integerQuantizer(format: Format, k: number): Quantizer {
  const { bits, zero } = format.integer!;
  const constants = shaderConstants(format, k);
  const group = groupOf(format, k);
  // Enough groups for whole words: of floats with 16 bits, of zero points, and of codes with three bits, which straddle words.
  const own = zero === 'code' ? 32 / constants.ZERO_BITS! : 2;
  return {
    source: zero === 'middle' ? intMiddle : intZero,
    constants: { ...constants, GROUP: group, BITS: bits, OWN: own },
    weightsPerThread: own * group,
  };
}
