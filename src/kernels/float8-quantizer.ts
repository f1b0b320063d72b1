import source from '../../shaders/quantize/float8.wgsl';
import type { Format } from '../formats/format.ts';
import { FLOAT8 } from '../formats/fp8.ts';
import { groupOf, shaderConstants } from '../formats/layout.ts';
import type { Quantizer } from './quantize.ts';

/** The quantizer of FP8 for rows of `k` weights. */
export function float8Quantizer(format: Format, k: number): Quantizer {
  const { mantissa, bias, largest, largestCode } = FLOAT8[format.float8!.type];
  const group = groupOf(format, k);
  // Two groups: whole words of scales with 16 bits.
  const own = 2;
  return {
    source,
    constants: {
      ...shaderConstants(format, k),
      ...{ GROUP: group, BITS: 8, OWN: own, MANTISSA: mantissa, LARGEST_VALUE: largest, LARGEST_CODE: largestCode },
      ...{ REBIAS: (127 - bias) * 2 ** 23, STEPS: 2 ** (bias - 1 + mantissa) },
    },
    weightsPerThread: own * group,
  };
}
