import q2Shader from '../../shaders/formats/q2_k.wgsl';
import q3Shader from '../../shaders/formats/q3_k.wgsl';
import q4Shader from '../../shaders/formats/q4_k.wgsl';
import q5Shader from '../../shaders/formats/q5_k.wgsl';
import q6Shader from '../../shaders/formats/q6_k.wgsl';
import { levelsFrom } from './codes.ts';
import type { Format, FormatArray } from './format.ts';
import { readStep, writeStep } from './ggml-step.ts';
import { clamp, roundHalfEven } from './rounding.ts';
import { CLEARLY, divide, gainsOf, normalize, searchAffine, searchSigned, squaredError } from './scale-search.ts';
import { inBlock, SUPER_BLOCK, type SuperBlock, superBlockFormat } from './super-blocks.ts';

/**
 * ggml's K types: 256 weights share a step d in f16 (and a second one for minima), of which 8 or 16 sub-blocks have a small
 * integer multiple as their scale each (`ggml-common.h`). Bits lie as ggml has them, each field of its blocks in an array of its own.
 *
 * Codes are searched for, with less squared error than ggml's own search leaves: by least squares in each sub-block, then
 * over the neighbours of each rounded scale (`scale-search.ts`).
 */

const f = Math.fround;

const codes = (bytes: number): FormatArray => inBlock('codes', 'U8', bytes);
const scales = (bytes: number): FormatArray => inBlock('scales', 'U8', bytes);
const high = (bytes: number): FormatArray => inBlock('high', 'U8', bytes);
/** d, and dmin where there is one. */
const steps = (count: number): FormatArray => inBlock('steps', 'F16', count);

/** Bits of weight `i` where bytes hold `bits` bits of weights that are 32 apart; `bytes` of them hold 32 · 8 / bits weights. */
function strided(bits: 2 | 4, i: number): { byte: number; shift: number } {
  const group = 256 / bits;
  const inGroup = i % group;
  return { byte: 32 * Math.floor(i / group) + (inGroup & 31), shift: bits * (inGroup >> 5) };
}

function readStrided(bytes: Uint8Array, bits: 2 | 4, i: number): number {
  const { byte, shift } = strided(bits, i);
  return (bytes[byte]! >> shift) & ((1 << bits) - 1);
}

function writeStrided(bytes: Uint8Array, bits: 2 | 4, i: number, value: number): void {
  const { byte, shift } = strided(bits, i);
  bytes[byte]! |= value << shift;
}

/** Bit i >> 5 of byte i & 31. */
const readHigh = (bytes: Uint8Array, i: number): number => (bytes[i & 31]! >> (i >> 5)) & 1;
const writeHigh = (bytes: Uint8Array, i: number, bit: number): void => {
  bytes[i & 31]! |= bit << (i >> 5);
};

interface AffineType {
  readonly name: string;
  readonly shader: Format['shader'];
  readonly arrays: readonly FormatArray[];
  readonly order: readonly string[];
  readonly levels: number;
  readonly sub: number;
  /** Largest multiple of d and of dmin. */
  readonly most: number;
  writeScale(bytes: Uint8Array, sub: number, scale: number, minimum: number): void;
  readScale(bytes: Uint8Array, sub: number): readonly [scale: number, minimum: number];
  writeCode(block: SuperBlock, i: number, code: number): void;
  readCode(block: SuperBlock, i: number): number;
}

/** Types with a minimum: w = d · scale · code − dmin · minimum. */
function affine({ name, shader, arrays, order, levels, sub, most, ...type }: AffineType): Format {
  return superBlockFormat({
    name,
    shader,
    arrays,
    order,
    grid: { group: sub, levels: levelsFrom(0, levels + 1) },
    quantize(weights, block, importance) {
      const { values, unit } = normalize(weights);
      const parts = Array.from({ length: SUPER_BLOCK / sub }, (_, j) => values.subarray(j * sub, (j + 1) * sub));
      const gains = parts.map((_, j) => gainsOf(importance?.subarray(j * sub, (j + 1) * sub)));
      const found = parts.map((part, j) => searchAffine(part, levels, { gains: gains[j] }));
      const step = (i: number, largest: number) => writeStep(block.steps!, i, f(divide(largest, most) * unit)) / unit;
      const d = f(step(0, Math.max(...found.map(({ scale }) => scale))));
      const dmin = f(step(1, Math.max(...found.map(({ minimum }) => minimum))));
      const multiple = (x: number, of: number) => (of < 2 ** -126 ? 0 : clamp(roundHalfEven(divide(x, of)), 0, most));
      for (const [j, part] of parts.entries()) {
        const { scale, minimum } = found[j]!;
        let best = { scale: 0, minimum: 0, codes: new Float32Array(sub), error: Number.POSITIVE_INFINITY };
        // The rounded pair first, then its neighbours.
        for (let c = 4; c < 13; c++) {
          const s = clamp(multiple(scale, d) + Math.floor((c % 9) / 3) - 1, 0, most);
          const m = clamp(multiple(minimum, dmin) + (c % 3) - 1, 0, most);
          const unitScale = f(d * s);
          const offset = f(dmin * m);
          const inverse = unitScale < 2 ** -126 ? 0 : f(1 / unitScale);
          const trial = part.map((w) => clamp(roundHalfEven(f(f(w + offset) * inverse)), 0, levels));
          const error = squaredError(part, (i) => f(f(unitScale * trial[i]!) - offset), gains[j]);
          if (error < f(best.error * CLEARLY)) best = { scale: s, minimum: m, codes: trial, error };
        }
        type.writeScale(block.scales!, j, best.scale, best.minimum);
        for (const [i, code] of best.codes.entries()) type.writeCode(block, j * sub + i, code);
      }
    },
    value(block, i) {
      const [scale, minimum] = type.readScale(block.scales!, Math.floor(i / sub));
      // Products are exact in f32: 11, 6 and 5 bits at most. The difference rounds once.
      return readStep(block.steps!, 0) * scale * type.readCode(block, i) - readStep(block.steps!, 1) * minimum;
    },
  });
}

/** Twelve bytes with eight pairs of six bits (`get_scale_min_k4`). */
const sixBitPairs: Pick<AffineType, 'writeScale' | 'readScale'> = {
  writeScale(bytes, j, scale, minimum) {
    if (j < 4) {
      bytes[j]! |= scale;
      bytes[j + 4]! |= minimum;
    } else {
      bytes[j + 4]! |= (scale & 15) | ((minimum & 15) << 4);
      bytes[j - 4]! |= (scale >> 4) << 6;
      bytes[j]! |= (minimum >> 4) << 6;
    }
  },
  readScale(bytes, j) {
    if (j < 4) return [bytes[j]! & 63, bytes[j + 4]! & 63];
    return [(bytes[j + 4]! & 15) | ((bytes[j - 4]! >> 6) << 4), (bytes[j + 4]! >> 4) | ((bytes[j]! >> 6) << 4)];
  },
};

/** 2.63 bits a weight: codes 0 … 3, 16 sub-blocks with scale and minimum in four bits each. */
export const q2_k = affine({
  name: 'q2_k',
  shader: q2Shader,
  arrays: [codes(64), steps(2), scales(16)],
  order: ['scales', 'codes', 'steps'],
  levels: 3,
  sub: 16,
  most: 15,
  writeScale: (bytes, j, scale, minimum) => {
    bytes[j] = scale | (minimum << 4);
  },
  readScale: (bytes, j) => [bytes[j]! & 15, bytes[j]! >> 4],
  writeCode: (block, i, code) => writeStrided(block.codes!, 2, i, code),
  readCode: (block, i) => readStrided(block.codes!, 2, i),
});

/** 4.5 bits a weight: codes 0 … 15, 8 sub-blocks with scale and minimum in six bits each. */
export const q4_k = affine({
  name: 'q4_k',
  shader: q4Shader,
  arrays: [codes(128), steps(2), scales(12)],
  order: ['steps', 'scales', 'codes'],
  levels: 15,
  sub: 32,
  most: 63,
  ...sixBitPairs,
  writeCode: (block, i, code) => writeStrided(block.codes!, 4, i, code),
  readCode: (block, i) => readStrided(block.codes!, 4, i),
});

/** 5.5 bits a weight: `q4_k` with a fifth bit. */
export const q5_k = affine({
  name: 'q5_k',
  shader: q5Shader,
  arrays: [codes(128), steps(2), scales(12), high(32)],
  order: ['steps', 'scales', 'high', 'codes'],
  levels: 31,
  sub: 32,
  most: 63,
  ...sixBitPairs,
  writeCode(block, i, code) {
    writeStrided(block.codes!, 4, i, code & 15);
    writeHigh(block.high!, i, code >> 4);
  },
  readCode: (block, i) => readStrided(block.codes!, 4, i) | (readHigh(block.high!, i) << 4),
});

interface SignedType {
  readonly name: string;
  readonly shader: Format['shader'];
  readonly arrays: readonly FormatArray[];
  readonly order: readonly string[];
  /** Codes are −half … half − 1. */
  readonly half: number;
  /** Multiples of d are −reach … reach − 1. */
  readonly reach: number;
  writeScale(bytes: Uint8Array, sub: number, scale: number): void;
  readScale(bytes: Uint8Array, sub: number): number;
  writeCode(block: SuperBlock, i: number, code: number): void;
  readCode(block: SuperBlock, i: number): number;
}

const SIGNED_SUB = 16;
/** Tenths of a code by which the largest weight's code is tried beside its end. */
const SIGNED_TRIALS = 9;

/** Types without a minimum: w = d · scale · code, in 16 sub-blocks of 16. */
function signed({ name, shader, arrays, order, half, reach, ...type }: SignedType): Format {
  const nearest = (x: number) => clamp(roundHalfEven(x), -half, half - 1);
  return superBlockFormat({
    name,
    shader,
    arrays,
    order,
    grid: { group: SIGNED_SUB, levels: levelsFrom(-half, 2 * half) },
    quantize(weights, block, importance) {
      const { values, unit } = normalize(weights);
      const parts = Array.from({ length: 16 }, (_, j) => values.subarray(j * SIGNED_SUB, (j + 1) * SIGNED_SUB));
      const gains = parts.map((_, j) => gainsOf(importance?.subarray(j * SIGNED_SUB, (j + 1) * SIGNED_SUB)));
      const found = parts.map((part, j) =>
        searchSigned(part, nearest, [-half], SIGNED_TRIALS, f(0.1), { gains: gains[j] }),
      );
      const largest = found.reduce((m, s) => (Math.abs(s) > Math.abs(m) ? s : m), 0);
      const d = f(writeStep(block.steps!, 0, f(divide(largest, -reach) * unit)) / unit);
      for (const [j, part] of parts.entries()) {
        const middle = Math.abs(d) < 2 ** -126 ? 0 : clamp(roundHalfEven(divide(found[j]!, d)), -reach, reach - 1);
        let best = { scale: 0, codes: new Float32Array(SIGNED_SUB), error: Number.POSITIVE_INFINITY };
        for (const ds of [0, 1, -1]) {
          const s = clamp(middle + ds, -reach, reach - 1);
          const unitScale = f(d * s);
          const inverse = Math.abs(unitScale) < 2 ** -126 ? 0 : f(1 / unitScale);
          const trial = part.map((w) => nearest(f(w * inverse)));
          const error = squaredError(part, (i) => f(unitScale * trial[i]!), gains[j]);
          if (error < f(best.error * CLEARLY)) best = { scale: s, codes: trial, error };
        }
        type.writeScale(block.scales!, j, best.scale);
        for (const [i, code] of best.codes.entries()) type.writeCode(block, j * SIGNED_SUB + i, code);
      }
    },
    value: (block, i) => readStep(block.steps!, 0) * type.readScale(block.scales!, i >> 4) * type.readCode(block, i),
  });
}

/** 3.44 bits a weight: codes −4 … 3, scales of six bits. */
export const q3_k = signed({
  name: 'q3_k',
  shader: q3Shader,
  arrays: [codes(64), steps(1), scales(12), high(32)],
  order: ['high', 'codes', 'scales', 'steps'],
  half: 4,
  reach: 32,
  // Low four bits: the nibbles of eight bytes; high two bits: the pairs of four more.
  writeScale(bytes, j, scale) {
    const code = scale + 32;
    bytes[j & 7]! |= (code & 15) << (j < 8 ? 0 : 4);
    bytes[8 + (j & 3)]! |= (code >> 4) << (2 * (j >> 2));
  },
  readScale: (bytes, j) =>
    (((bytes[j & 7]! >> (j < 8 ? 0 : 4)) & 15) | (((bytes[8 + (j & 3)]! >> (2 * (j >> 2))) & 3) << 4)) - 32,
  writeCode(block, i, code) {
    writeStrided(block.codes!, 2, i, (code + 4) & 3);
    writeHigh(block.high!, i, (code + 4) >> 2);
  },
  readCode: (block, i) => (readStrided(block.codes!, 2, i) | (readHigh(block.high!, i) << 2)) - 4,
});

/** q6_k's low four bits: a byte for weights that are 64 apart, in halves of 128. */
const lowOf = (i: number) => ({ byte: 64 * (i >> 7) + (i & 63), shift: 4 * ((i >> 6) & 1) });

/** 6.56 bits a weight: codes −32 … 31, scales of eight bits. */
export const q6_k = signed({
  name: 'q6_k',
  shader: q6Shader,
  arrays: [codes(128), steps(1), scales(16), high(64)],
  order: ['codes', 'high', 'scales', 'steps'],
  half: 32,
  reach: 128,
  writeScale: (bytes, j, scale) => {
    bytes[j] = scale;
  },
  readScale: (bytes, j) => (bytes[j]! << 24) >> 24,
  writeCode(block, i, code) {
    const { byte, shift } = lowOf(i);
    block.codes![byte]! |= ((code + 32) & 15) << shift;
    writeStrided(block.high!, 2, i, (code + 32) >> 4);
  },
  readCode(block, i) {
    const { byte, shift } = lowOf(i);
    return (((block.codes![byte]! >> shift) & 15) | (readStrided(block.high!, 2, i) << 4)) - 32;
  },
});
