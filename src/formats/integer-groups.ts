import int4Shader from '../../shaders/formats/int4.wgsl';
import int4AsymShader from '../../shaders/formats/int4_asym.wgsl';
import int8Shader from '../../shaders/formats/int8.wgsl';
import int8AsymShader from '../../shaders/formats/int8_asym.wgsl';
import { checkWeights } from './checks.ts';
import { readNibble, writeNibble } from './codes.ts';
import { f16BitsToF32, f32ToF16Bits } from './float16.ts';
import type { Format, FormatArray } from './format.ts';
import { allocateArrays, readU16, takeArray, writeU16 } from './layout.ts';
import { checkOptions } from './methods.ts';
import { clamp, roundHalfEven } from './rounding.ts';

const F16_MAX = 65504;

const SHADERS = {
  8: { symmetric: int8Shader, asymmetric: int8AsymShader },
  4: { symmetric: int4Shader, asymmetric: int4AsymShader },
} as const;

/** f16 bits of a scale: saturated at ±65504, and +0 whatever the sign of what rounds to zero. */
function scaleBits(scale: number): number {
  const bits = f32ToF16Bits(clamp(scale, -F16_MAX, F16_MAX));
  return (bits & 0x7fff) === 0 ? 0 : bits;
}

/** w / scale, rounded to f32 and then to an integer, halves to even; 0 where the scale is zero. */
const quotient = (w: number, scale: number): number => (scale === 0 ? 0 : roundHalfEven(Math.fround(w / scale)));

/**
 * Groups of `group` weights of one row, w = scale · (code − zero) with an f16 scale and `bits`-bit codes.
 *
 * Symmetric: scale = −m / 2^(bits−1), m being the first weight of largest magnitude with its sign (so that m itself has
 * a code: the rule of ONNX's MatMulNBits); zero = 2^(bits−1). Eight-bit symmetric codes are stored as int8, zero taken off.
 *
 * Asymmetric: with low = min(w, 0) and high = max(w, 0), scale = (high − low) / (2^bits − 1); zero = −low / scale.
 *
 * Both: the scale is computed in f32, saturated at ±65504 (weights that no code reaches are clipped, none becomes
 * infinite) and rounded to f16, and codes use it as rounded: code = round(w / scale) + zero, clamped to the codes
 * there are. Division rounds to f32, then `round` takes halves to even. A scale that rounds to zero (max|w| of about
 * 2^-22 for four bits) makes every code the zero point (0 when asymmetric).
 */
export function integerGroups(bits: 4 | 8, group: number, asymmetric: boolean): Format {
  const signed = bits === 8 && !asymmetric;
  const half = 2 ** (bits - 1);
  const levels = 2 ** bits - 1;
  const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => (k * bits) / 8 };
  const scales: FormatArray = { name: 'scales', type: 'F16', elementsPerRow: (k) => k / group };
  const zeros: FormatArray = { name: 'zeros', type: 'U8', elementsPerRow: (k) => k / group };
  const arrays = asymmetric ? [codes, scales, zeros] : [codes, scales];

  const write = (bytes: Uint8Array, i: number, code: number): void => {
    if (bits === 4) writeNibble(bytes, i, code);
    else bytes[i] = signed ? code - half : code;
  };
  const read = (bytes: Uint8Array, i: number): number => {
    if (bits === 4) return readNibble(bytes, i);
    return signed ? ((bytes[i]! << 24) >> 24) + half : bytes[i]!;
  };

  const name = `int${bits}-g${group}${asymmetric ? '-asym' : ''}`;
  return {
    name,
    kind: 'block',
    block: group,
    arrays,
    shader: SHADERS[bits][asymmetric ? 'asymmetric' : 'symmetric'],
    constants: { GROUP: group },
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name }, k, options);
        const host = allocateArrays(arrays, rows, k);
        for (let g = 0; g < weights.length / group; g++) {
          const first = g * group;
          const values = weights.subarray(first, first + group);
          const low = values.reduce((min, w) => Math.min(min, w), 0);
          const high = values.reduce((max, w) => Math.max(max, w), 0);
          const extreme = values.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0);
          const exact = asymmetric ? Math.fround(Math.fround(high - low) / levels) : Math.fround(-extreme / half);
          const stored = scaleBits(exact);
          const scale = f16BitsToF32(stored);
          const zero = asymmetric ? clamp(quotient(-low, scale), 0, levels) : half;
          writeU16(host.scales!, g, stored);
          if (asymmetric) host.zeros![g] = zero;
          for (const [i, w] of values.entries()) {
            write(host.codes!, first + i, clamp(quotient(w, scale) + zero, 0, levels));
          }
        }
        return host;
      },
      dequantize(host, rows, k) {
        const codeBytes = takeArray(host, codes, rows, k);
        const scaleBytes = takeArray(host, scales, rows, k);
        const zeroBytes = asymmetric ? takeArray(host, zeros, rows, k) : undefined;
        return Float32Array.from({ length: rows * k }, (_, i) => {
          const g = Math.floor(i / group);
          const zero = zeroBytes ? zeroBytes[g]! : half;
          return f16BitsToF32(readU16(scaleBytes, g)) * (read(codeBytes, i) - zero);
        });
      },
    },
    codecs: {},
  };
}
