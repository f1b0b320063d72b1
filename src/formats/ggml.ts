import int4Shader from '../../shaders/formats/int4.wgsl';
import int8Shader from '../../shaders/formats/int8.wgsl';
import q41Shader from '../../shaders/formats/q4_1.wgsl';
import q50Shader from '../../shaders/formats/q5_0.wgsl';
import q51Shader from '../../shaders/formats/q5_1.wgsl';
import { blockCodec, ggmlNibbles } from './block-codec.ts';
import { checkWeights } from './checks.ts';
import { levelsFrom, readBit, readNibble, writeBit, writeNibble } from './codes.ts';
import { f16BitsToF32, f32ToF16Bits } from './float16.ts';
import type { Codec, Format, FormatArray, HostArrays } from './format.ts';
import { SMALLEST_STEP, SMALLEST_STEP_ABOVE_MINIMUM, saturateStep } from './ggml-step.ts';
import { allocateArrays, readU16, takeArray, writeU16 } from './layout.ts';
import { checkOptions } from './methods.ts';
import { clamp, roundHalfAway, roundHalfEven } from './rounding.ts';
import {
  CLEARLY,
  type Gains,
  gainsOf,
  inverseOf,
  normalize,
  searchAffine,
  searchSigned,
  squaredError,
} from './scale-search.ts';

const f = Math.fround;

/** Weights that share a scale in ggml's legacy types. */
const BLOCK = 32;

const codes8: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => k };
const codes4: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => k / 2 };
const scales: FormatArray = { name: 'scales', type: 'F16', elementsPerRow: (k) => k / BLOCK };
const minima: FormatArray = { name: 'minima', type: 'F16', elementsPerRow: (k) => k / BLOCK };
const NIBBLES = ggmlNibbles(BLOCK);
/** Fifth bits of the codes: a word a block, bit i for weight i. */
const high: FormatArray = { name: 'high', type: 'U32', elementsPerRow: (k) => k / BLOCK };

/** The parts in which the formats differ. */
interface BlockType {
  readonly name: string;
  /** Codes first; behind them the others, in the order in which ggml puts them before its codes. */
  readonly arrays: readonly [FormatArray, ...FormatArray[]];
  readonly shader: Format['shader'];
  readonly constants: Format['constants'];
  /** What each code stands for, in steps: above the minimum, where there is one. */
  readonly levels: readonly number[];
  /** d and the minimum m (0 for types without one) before rounding to f16, from one block. */
  step(block: Float32Array): { readonly d: number; readonly m: number };
  readonly smallestStep: number;
  /** The level that is nearest to a real number, and what is added to a level to make its code. */
  nearest(x: number): number;
  readonly zero: number;
  /** d and m in the units of a block scaled to at most 4 in magnitude, with the least squared error that the search finds. */
  search(block: Float32Array, gains: Gains | undefined): { readonly d: number; readonly m: number };
  /** Code of `scaled` = (w − m) · (1/d), each operation rounded to f32. */
  code(scaled: number): number;
  write(arrays: HostArrays, i: number, code: number): void;
  /** code − zero. */
  read(arrays: HostArrays, i: number): number;
}

/** The other arrays first, then the codes, as ggml has them. */
function codec({ name, arrays }: BlockType): Codec {
  const [codes, ...heads] = arrays;
  const fields = [
    ...heads.map((array) => ({ array })),
    codes === codes8 ? { array: codes } : { array: codes, order: NIBBLES },
  ];
  return blockCodec(name, BLOCK, arrays, fields);
}

function ggmlFormat(type: BlockType): Format {
  const { arrays: layout } = type;
  return {
    name: type.name,
    kind: 'block',
    block: BLOCK,
    arrays: layout,
    shader: type.shader,
    constants: type.constants,
    searches: true,
    weighs: true,
    grid: { group: BLOCK, levels: type.levels },
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        const { search, importance } = checkOptions({ name: type.name, searches: true, weighs: true }, k, options);
        const host = allocateArrays(layout, rows, k);
        for (let block = 0; block < weights.length / BLOCK; block++) {
          const first = block * BLOCK;
          const values = weights.subarray(first, first + BLOCK);
          if (search) {
            const column = first % k;
            searchBlock(type, values, gainsOf(importance?.subarray(column, column + BLOCK)), host, first);
            continue;
          }
          const exact = type.step(values);
          const d = saturateStep(exact.d);
          const m = saturateStep(exact.m);
          const inverse = Math.abs(d) < type.smallestStep ? 0 : Math.fround(1 / d);
          writeU16(host.scales!, block, f32ToF16Bits(d));
          if (host.minima) writeU16(host.minima, block, f32ToF16Bits(m));
          for (const [i, w] of values.entries()) {
            type.write(host, first + i, type.code(Math.fround(Math.fround(w - m) * inverse)));
          }
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of layout) takeArray(host, array, rows, k);
        return Float32Array.from({ length: rows * k }, (_, i) => {
          const block = Math.floor(i / BLOCK);
          // Exact in f32, since d has 11 bits; the sum rounds once.
          const product = f16BitsToF32(readU16(host.scales!, block)) * type.read(host, i);
          return host.minima ? product + f16BitsToF32(readU16(host.minima, block)) : product;
        });
      },
    },
    codecs: { ggml: codec(type) },
  };
}

/**
 * Writes the block whose first weight is `first`, with the method `search`: of the steps of the rule and those of the search, each as
 * stored, the ones whose nearest codes leave clearly the least error. So none is worse than what rounding to nearest gives.
 */
function searchBlock(
  type: BlockType,
  weights: Float32Array,
  gains: Gains | undefined,
  host: HostArrays,
  first: number,
): void {
  const block = first / BLOCK;
  const { values, unit } = normalize(weights);
  let least = Number.POSITIVE_INFINITY;
  let codes = new Float32Array(BLOCK);
  for (const { d, m } of [type.step(values), type.search(values, gains)]) {
    const [step, minimum] = [f32ToF16Bits(saturateStep(f(d * unit))), f32ToF16Bits(saturateStep(f(m * unit)))];
    const scale = f(f16BitsToF32(step) / unit);
    const offset = f(f16BitsToF32(minimum) / unit);
    const inverse = inverseOf(scale);
    const nearest = values.map((w) => type.nearest(f(f(w - offset) * inverse)));
    const error = squaredError(values, (i) => f(f(scale * nearest[i]!) + offset), gains);
    if (error >= f(least * CLEARLY)) continue;
    least = error;
    codes = nearest;
    writeU16(host.scales!, block, step);
    if (host.minima) writeU16(host.minima, block, minimum);
  }
  for (const [i, level] of codes.entries()) type.write(host, first + i, level + type.zero);
}

const between = (low: number, high: number) => (x: number) => clamp(roundHalfEven(x), low, high);

/** Tenths of a level by which the level of the largest weight is moved either way. */
const TRIALS = 9;

/** The search of types without a minimum, which puts the largest weight at level `end` first. */
const searchStep =
  (nearest: (x: number) => number, end: number): BlockType['search'] =>
  (block, gains) => ({ d: searchSigned(block, nearest, [end], TRIALS, f(0.1), { gains, thorough: true }), m: 0 });

/** The search of types with a minimum. */
const searchRange =
  (levels: number): BlockType['search'] =>
  (block, gains) => {
    const { scale, minimum } = searchAffine(block, levels, { gains, thorough: true, anyMinimum: true });
    return { d: scale, m: -minimum };
  };

/** d = m / −divisor, where m is the first weight of largest magnitude, with its sign. */
const signedStep = (divisor: number) => (block: Float32Array) => ({
  d: Math.fround(block.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0) / -divisor),
  m: 0,
});

/** m = the smallest weight (of zeros the first, with its sign); d = (largest − m) / levels. */
const rangeStep = (levels: number) => (block: Float32Array) => {
  const low = block.reduce((min, w) => (w < min ? w : min));
  const high = block.reduce((max, w) => (w > max ? w : max));
  return { d: Math.fround(Math.fround(high - low) / levels), m: low };
};

/** ⌊scaled + offset⌋ with the sum rounded to f32, at most `levels`: how ggml's code writes it. */
const cutOff = (offset: number, levels: number) => (scaled: number) =>
  clamp(Math.trunc(Math.fround(scaled + offset)), 0, levels);

const fourBits = {
  write: (host: HostArrays, i: number, code: number) => writeNibble(host.codes!, i, code),
  read: (host: HostArrays, i: number) => readNibble(host.codes!, i),
};

const fiveBits = {
  write: (host: HostArrays, i: number, code: number) => {
    writeNibble(host.codes!, i, code & 15);
    writeBit(host.high!, i, code >>> 4);
  },
  read: (host: HostArrays, i: number) => readNibble(host.codes!, i) | (readBit(host.high!, i) << 4),
};

/**
 * ggml's q8_0 (`quantize_row_q8_0_ref`): d = max|w| / 127, code = w · (1/d) to nearest, halves away from zero. Codes use
 * d before it is rounded to f16. w = d · code.
 */
export const q8_0 = ggmlFormat({
  name: 'q8_0',
  arrays: [codes8, scales],
  shader: int8Shader,
  constants: { GROUP: BLOCK },
  levels: levelsFrom(-128, 256),
  step: (block) => ({ d: Math.fround(block.reduce((max, w) => Math.max(max, Math.abs(w)), 0) / 127), m: 0 }),
  smallestStep: SMALLEST_STEP,
  nearest: between(-127, 127),
  zero: 0,
  search: (block, gains) => ({ d: Math.abs(searchStep(between(-127, 127), 127)(block, gains).d), m: 0 }),
  code: (scaled) => clamp(roundHalfAway(scaled), -127, 127),
  write: (host, i, code) => {
    host.codes![i] = code;
  },
  read: (host, i) => (host.codes![i]! << 24) >> 24,
});

/**
 * ggml's q4_0 (`quantize_row_q4_0_ref`): d = m / −8, where m is the first weight of largest magnitude, with its sign;
 * code = ⌊w · (1/d) + 8.5⌋, at most 15. Codes use d before it is rounded to f16, and every operation rounds to f32 (no
 * fused multiply-add). w = d · (code − 8).
 */
export const q4_0 = ggmlFormat({
  name: 'q4_0',
  arrays: [codes4, scales],
  shader: int4Shader,
  constants: { GROUP: BLOCK },
  levels: levelsFrom(-8, 16),
  step: signedStep(8),
  smallestStep: SMALLEST_STEP,
  nearest: between(-8, 7),
  zero: 8,
  search: searchStep(between(-8, 7), -8),
  code: cutOff(8.5, 15),
  write: fourBits.write,
  read: (host, i) => fourBits.read(host, i) - 8,
});

/** ggml's q5_0 (`quantize_row_q5_0_ref`): q4_0 with a fifth bit. d = m / −16, code = ⌊w · (1/d) + 16.5⌋. w = d · (code − 16). */
export const q5_0 = ggmlFormat({
  name: 'q5_0',
  arrays: [codes4, scales, high],
  shader: q50Shader,
  constants: {},
  levels: levelsFrom(-16, 32),
  step: signedStep(16),
  smallestStep: SMALLEST_STEP,
  nearest: between(-16, 15),
  zero: 16,
  search: searchStep(between(-16, 15), -16),
  code: cutOff(16.5, 31),
  write: fiveBits.write,
  read: (host, i) => fiveBits.read(host, i) - 16,
});

/**
 * ggml's q4_1 (`quantize_row_q4_1_ref`): m = min w, d = (max w − m) / 15, code = ⌊(w − m) · (1/d) + ½⌋, at most 15. Codes
 * use d and m before they are rounded to f16, and every operation rounds to f32. w = d · code + m.
 */
export const q4_1 = ggmlFormat({
  name: 'q4_1',
  arrays: [codes4, scales, minima],
  shader: q41Shader,
  constants: {},
  levels: levelsFrom(0, 16),
  step: rangeStep(15),
  smallestStep: SMALLEST_STEP_ABOVE_MINIMUM,
  nearest: between(0, 15),
  zero: 0,
  search: searchRange(15),
  code: cutOff(0.5, 15),
  ...fourBits,
});

/** ggml's q5_1 (`quantize_row_q5_1_ref`): q4_1 with a fifth bit. d = (max w − m) / 31. */
export const q5_1 = ggmlFormat({
  name: 'q5_1',
  arrays: [codes4, scales, minima, high],
  shader: q51Shader,
  constants: {},
  levels: levelsFrom(0, 32),
  step: rangeStep(31),
  smallestStep: SMALLEST_STEP_ABOVE_MINIMUM,
  nearest: between(0, 31),
  zero: 0,
  search: searchRange(31),
  code: cutOff(0.5, 31),
  ...fiveBits,
});
