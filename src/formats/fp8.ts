import e4m3Shader from '../../shaders/formats/e4m3.wgsl';
import e5m2Shader from '../../shaders/formats/e5m2.wgsl';
import { float8Values } from '../files/float8.ts';
import { checkWeights } from './checks.ts';
import type { Format, FormatArray } from './format.ts';
import { INTEGER_GROUPS } from './integer-names.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';
import { roundHalfEven } from './rounding.ts';
import { divide } from './scale-search.ts';
import { type ScaleType, STORED_FLOATS } from './scale-type.ts';

const f = Math.fround;

/** How the eight bits of a type are divided (OCP 8-bit Floating Point Specification, revision 1.0, table 1). */
export const FLOAT8 = {
  e4m3: { type: 'F8_E4M3', mantissa: 3, bias: 7, largest: 448, largestCode: 0x7e, shader: e4m3Shader },
  e5m2: { type: 'F8_E5M2', mantissa: 2, bias: 15, largest: 57344, largestCode: 0x7b, shader: e5m2Shader },
} as const;

/** What tells one format of FP8 from another. */
export interface Float8Parameters {
  readonly type: keyof typeof FLOAT8;
  readonly group: (typeof INTEGER_GROUPS)[number];
  /** Not f16, whose smallest numbers are too coarse for a largest magnitude over 57344. */
  readonly scale: Exclude<ScaleType, 'f16'>;
}

/** The grammar of their names, for messages. */
export const FLOAT8_GRAMMAR =
  'e4m3 or e5m2, then -g<16, 32, 64, 128 or 256> or -row, then -bf16 for scales other than f32';

const nameOf = ({ type, group, scale }: Float8Parameters): string =>
  `${type}-${group === 'row' ? 'row' : `g${group}`}${scale === 'f32' ? '' : `-${scale}`}`;

const byName = new Map(
  (['e4m3', 'e5m2'] as const).flatMap((type) =>
    INTEGER_GROUPS.flatMap((group) =>
      (['f32', 'bf16'] as const).map((scale) => [nameOf({ type, group, scale }), { type, group, scale }] as const),
    ),
  ),
);

/** What a name stands for; undefined where it names no format of FP8. */
export const parseFloat8Name = (name: string): Float8Parameters | undefined => byName.get(name);

/** Rows are multiples of this, the weights of a kernel's chunk, where a scale is for all of a row. */
const CHUNK = 16;
/** Groups whose largest magnitude is below this count as zeros: no quotient leaves the normal range, where devices agree. */
const SMALLEST_GROUP = 2 ** -90;

/** The code of the value nearest to x, ties to even, saturated; +0 for what rounds to zero. */
export function float8Code(x: number, { mantissa, bias, largestCode }: (typeof FLOAT8)[keyof typeof FLOAT8]): number {
  const magnitude = Math.abs(x);
  // Steps of the binade that it is in, or of the subnormal values below the first one.
  const exponent = Math.max(magnitude === 0 ? 1 - bias : Math.floor(Math.log2(magnitude)), 1 - bias);
  const steps = roundHalfEven(magnitude / 2 ** (exponent - mantissa));
  // A carry into the next binade is in the right place by itself.
  const code = Math.min((exponent + bias - 1) * 2 ** mantissa + steps, largestCode);
  return x < 0 && code > 0 ? code | 0x80 : code;
}

/**
 * Weights in FP8, E4M3 or E5M2 of the OCP specification, each group of a row, or the row, under a scale: the largest magnitude over the largest value,
 * rounded to the scale's type. Codes are the values nearest to w · (1 / scale), both rounded to f32. Infinity and NaN are never written.
 */
export function float8Groups(parameters: Float8Parameters): Format {
  const { group, scale: scaleType } = parameters;
  const name = nameOf(parameters);
  const type = FLOAT8[parameters.type];
  const stored = STORED_FLOATS[scaleType];
  const sizeOf = (k: number) => (group === 'row' ? k : group);
  const arrays: readonly FormatArray[] = [
    { name: 'codes', type: 'U8', elementsPerRow: (k) => k },
    { name: 'scales', type: stored.element, elementsPerRow: (k) => k / sizeOf(k) },
  ];
  return {
    name,
    kind: 'block',
    block: group === 'row' ? CHUNK : group,
    ...(group === 'row' && { wholeRows: true }),
    float8: parameters,
    arrays,
    shader: type.shader,
    constants: { SCALE_TYPE: stored.code, ...(group !== 'row' && { GROUP: group }) },
    ...(group === 'row' && { constantsOf: (k: number) => ({ GROUP: k }) }),
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name }, k, options);
        const host = allocateArrays(arrays, rows, k);
        const size = sizeOf(k);
        for (let g = 0; g < weights.length / size; g++) {
          const values = weights.subarray(g * size, (g + 1) * size);
          const largest = values.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
          const scale = largest < SMALLEST_GROUP ? 0 : stored.round(divide(largest, type.largest));
          stored.write(host.scales!, g, scale);
          const inverse = scale === 0 ? 0 : f(1 / scale);
          for (const [i, w] of values.entries()) host.codes![g * size + i] = float8Code(f(w * inverse), type);
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        const values = float8Values(type.type);
        const size = sizeOf(k);
        return Float32Array.from(
          { length: rows * k },
          (_, i) => stored.read(host.scales!, Math.floor(i / size)) * values[host.codes![i]!]!,
        );
      },
    },
    codecs: {},
  };
}
