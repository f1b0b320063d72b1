import int2Shader from '../../shaders/formats/int2.wgsl';
import int2ZeroShader from '../../shaders/formats/int2_zero.wgsl';
import int3Shader from '../../shaders/formats/int3.wgsl';
import int3ZeroShader from '../../shaders/formats/int3_zero.wgsl';
import int4Shader from '../../shaders/formats/int4.wgsl';
import int4ZeroShader from '../../shaders/formats/int4_zero.wgsl';
import int8Shader from '../../shaders/formats/int8.wgsl';
import int8ZeroShader from '../../shaders/formats/int8_zero.wgsl';
import { checkWeights } from './checks.ts';
import { levelsFrom, readBits, readNibble, writeBits, writeNibble } from './codes.ts';
import type { Format, FormatArray } from './format.ts';
import { hqqGroup } from './integer-hqq.ts';
import { type IntegerParameters, integerName } from './integer-names.ts';
import { integerCode, roundToNearest } from './integer-rounding.ts';
import { searchGroup } from './integer-search.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';
import { gainsOf } from './scale-search.ts';
import { STORED_FLOATS } from './scale-type.ts';

const OFFER = { searches: true, weighs: true } as const;

/** Rows are multiples of this, the weights of a kernel's chunk, where a scale is for all of a row. */
const CHUNK = 16;

const SHADERS = {
  8: { middle: int8Shader, zeros: int8ZeroShader },
  4: { middle: int4Shader, zeros: int4ZeroShader },
  3: { middle: int3Shader, zeros: int3ZeroShader },
  2: { middle: int2Shader, zeros: int2ZeroShader },
} as const;

/** How codes of one width lie in their array. */
interface CodeLayout {
  readonly read: (bytes: Uint8Array, i: number) => number;
  readonly write: (bytes: Uint8Array, i: number, code: number) => void;
}

function layoutOf(bits: IntegerParameters['bits'], signed: boolean): CodeLayout {
  if (bits === 4) return { read: readNibble, write: writeNibble };
  if (!signed) {
    return {
      read: (bytes, i) => readBits(bytes, i, bits),
      write: (bytes, i, code) => writeBits(bytes, i, bits, code),
    };
  }
  return {
    read: (bytes, i) => bytes[i]! ^ 0x80,
    write: (bytes, i, code) => {
      bytes[i] = code ^ 0x80;
    },
  };
}

/**
 * Bits of a zero point that is an integer, of `count` in a row: the fewest of 2, 4 and 8 that hold a code and make a row's zero points
 * whole bytes.
 */
export const zeroBits = (bits: number, count: number): number =>
  [2, 4].find((width) => width >= bits && (count * width) % 8 === 0) ?? 8;

/**
 * Groups of weights of one row: w = scale · (code − zero), with codes of 2, 3, 4 or 8 bits. Scales are f16, bf16 or f32; zero is the middle
 * code, a code of the group's own, or a float of the scale's type (the form of HQQ). `roundToNearest` states the rule for both, `searchGroup`
 * and `hqqGroup` what the methods `search` and `hqq` do instead, `integerCode` the rule for codes.
 *
 * Eight-bit codes with the middle as zero are stored as int8, zero taken off.
 */
export function integerGroups(parameters: IntegerParameters): Format {
  const { bits, group, zero: kind, scale: type } = parameters;
  const name = integerName(parameters);
  const stored = STORED_FLOATS[type];
  const half = 2 ** (bits - 1);
  const codeLayout = layoutOf(bits, bits === 8 && kind === 'middle');
  const sizeOf = (k: number) => (group === 'row' ? k : group);
  const zeroWidth = (k: number) => zeroBits(bits, k / sizeOf(k));

  const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => (k * bits) / 8 };
  const scales: FormatArray = { name: 'scales', type: stored.element, elementsPerRow: (k) => k / sizeOf(k) };
  const zeros: FormatArray =
    kind === 'float'
      ? { ...scales, name: 'zeros' }
      : { name: 'zeros', type: 'U8', elementsPerRow: (k) => ((k / sizeOf(k)) * zeroWidth(k)) / 8 };
  const arrays = kind === 'middle' ? [codes, scales] : [codes, scales, zeros];

  const writeZero = (bytes: Uint8Array, g: number, zero: number, k: number): void => {
    if (kind === 'float') stored.write(bytes, g, zero);
    else writeBits(bytes, g, zeroWidth(k), zero);
  };
  const readZero = (bytes: Uint8Array, g: number, k: number): number =>
    kind === 'float' ? stored.read(bytes, g) : readBits(bytes, g, zeroWidth(k));

  const constants = {
    SCALE_TYPE: stored.code,
    ...(group !== 'row' && { GROUP: group }),
    ...(kind === 'float' && { ZERO_BITS: stored.bits }),
  };
  const constantsOf = (k: number): Record<string, number> => ({
    ...(group === 'row' && { GROUP: k }),
    ...(kind === 'code' && { ZERO_BITS: zeroWidth(k) }),
  });

  return {
    name,
    kind: 'block',
    block: group === 'row' ? CHUNK : group,
    ...(group === 'row' && { wholeRows: true }),
    integer: parameters,
    ...OFFER,
    arrays,
    shader: SHADERS[bits][kind === 'middle' ? 'middle' : 'zeros'],
    constants,
    ...((group === 'row' || kind === 'code') && { constantsOf }),
    grid: {
      group: group === 'row' ? CHUNK : group,
      levels: levelsFrom(kind === 'middle' ? -half : 0, 2 ** bits),
    },
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        const { search, importance } = checkOptions({ name, ...OFFER, integer: parameters }, k, options);
        const host = allocateArrays(arrays, rows, k);
        const size = sizeOf(k);
        for (let g = 0; g < weights.length / size; g++) {
          const first = g * size;
          const values = weights.subarray(first, first + size);
          const gains = search ? gainsOf(importance?.subarray(first % k, (first % k) + size)) : undefined;
          const chosen = options?.method === 'hqq' ? hqqGroup : roundToNearest;
          const found = search ? searchGroup(values, parameters, gains) : chosen(values, parameters);
          stored.write(host.scales!, g, found.scale);
          if (host.zeros) writeZero(host.zeros, g, found.zero, k);
          for (const [i, w] of values.entries()) {
            codeLayout.write(host.codes!, first + i, integerCode(w, found, parameters));
          }
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        const size = sizeOf(k);
        return Float32Array.from({ length: rows * k }, (_, i) => {
          const g = Math.floor(i / size);
          const zero = host.zeros ? readZero(host.zeros, g, k) : half;
          // With integers both are exact but for the product's rounding.
          return stored.read(host.scales!, g) * Math.fround(codeLayout.read(host.codes!, i) - zero);
        });
      },
    },
    codecs: {},
  };
}
