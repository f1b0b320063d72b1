import int4Shader from '../../shaders/formats/int4.wgsl';
import int8Shader from '../../shaders/formats/int8.wgsl';
import { checkBytes, checkWeights } from './checks.ts';
import { readNibble, writeNibble } from './codes.ts';
import { f16BitsToF32, f32ToF16Bits } from './float16.ts';
import type { Codec, Format, FormatArray } from './format.ts';
import { allocateArrays, readU16, takeArray, writeU16 } from './layout.ts';
import { clamp, roundHalfAway } from './rounding.ts';

/** Weights that share a scale in ggml's legacy types. */
const BLOCK = 32;

/**
 * Where a block's unrounded step d is smaller than this, all its codes are zero. Its f16 scale is zero anyway (below
 * 2^-25); ggml goes on, with codes that mean nothing, until 1/d overflows. Stopping here keeps every intermediate
 * value a normal f32, so that devices which flush subnormals agree.
 */
export const SMALLEST_STEP = 2 ** -124;

/** f32 values from here on round to infinity in f16. */
export const F16_OVERFLOW = 65520;

const F16_MAX = 65504;

/**
 * The step that codes are computed with: ggml's, but saturated where its f16 would be infinite. Then the weights
 * beyond the last code are clipped, and nothing decodes to infinity.
 */
const saturate = (d: number): number => (Math.abs(d) < F16_OVERFLOW ? d : Math.sign(d) * F16_MAX);

/** f32 reciprocal, or 0 where the block counts as zero. */
const inverse = (d: number): number => (Math.abs(d) < SMALLEST_STEP ? 0 : Math.fround(1 / d));

const scales: FormatArray = { name: 'scales', type: 'F16', elementsPerRow: (k) => k / BLOCK };

/** The parts in which the two formats differ. */
interface BlockType {
  readonly name: string;
  readonly codes: FormatArray;
  readonly shader: Format['shader'];
  /** d before rounding to f16, from one block. */
  step(block: Float32Array): number;
  /** Code of `scaled` = w · (1/d), already rounded to f32. */
  code(scaled: number): number;
  write(codes: Uint8Array, i: number, code: number): void;
  /** code − zero. */
  read(codes: Uint8Array, i: number): number;
  /** Bytes of one block's codes in ggml's order, and back. */
  toGgml(codes: Uint8Array, first: number, out: Uint8Array): void;
  fromGgml(bytes: Uint8Array, codes: Uint8Array, first: number): void;
}

function codec(type: BlockType): Codec {
  const codeBytes = type.codes.elementsPerRow(BLOCK);
  const blockBytes = 2 + codeBytes;
  const bytesPerRow = (k: number): number => (k / BLOCK) * blockBytes;
  return {
    bytesPerRow,
    encode(arrays, rows, k) {
      const codes = takeArray(arrays, type.codes, rows, k);
      const d = takeArray(arrays, scales, rows, k);
      const out = new Uint8Array(rows * bytesPerRow(k));
      for (let block = 0; block < (rows * k) / BLOCK; block++) {
        const at = block * blockBytes;
        out.set(d.subarray(2 * block, 2 * block + 2), at);
        type.toGgml(codes, block * BLOCK, out.subarray(at + 2, at + blockBytes));
      }
      return out;
    },
    decode(bytes, rows, k) {
      checkBytes(bytes, rows * bytesPerRow(k), `${type.name}, ${rows} x ${k}`);
      const arrays = allocateArrays([type.codes, scales], rows, k);
      for (let block = 0; block < (rows * k) / BLOCK; block++) {
        const at = block * blockBytes;
        arrays.scales!.set(bytes.subarray(at, at + 2), 2 * block);
        type.fromGgml(bytes.subarray(at + 2, at + blockBytes), arrays.codes!, block * BLOCK);
      }
      return arrays;
    },
  };
}

function ggmlFormat(type: BlockType): Format {
  return {
    name: type.name,
    kind: 'block',
    block: BLOCK,
    arrays: [type.codes, scales],
    shader: type.shader,
    constants: { GROUP: BLOCK },
    reference: {
      quantize(weights, rows, k) {
        checkWeights(weights, rows, k);
        const arrays = allocateArrays([type.codes, scales], rows, k);
        for (let block = 0; block < weights.length / BLOCK; block++) {
          const first = block * BLOCK;
          const values = weights.subarray(first, first + BLOCK);
          const d = saturate(type.step(values));
          const id = inverse(d);
          writeU16(arrays.scales!, block, f32ToF16Bits(d));
          for (const [i, w] of values.entries()) {
            type.write(arrays.codes!, first + i, type.code(Math.fround(w * id)));
          }
        }
        return arrays;
      },
      dequantize(arrays, rows, k) {
        const codes = takeArray(arrays, type.codes, rows, k);
        const d = takeArray(arrays, scales, rows, k);
        return Float32Array.from({ length: rows * k }, (_, i) => {
          return f16BitsToF32(readU16(d, Math.floor(i / BLOCK))) * type.read(codes, i);
        });
      },
    },
    codecs: { ggml: codec(type) },
  };
}

/**
 * ggml's q8_0 (`quantize_row_q8_0_ref`): d = max|w| / 127, code = w · (1/d) to nearest, halves away from zero. Codes use
 * d before it is rounded to f16. w = d · code.
 */
export const q8_0 = ggmlFormat({
  name: 'q8_0',
  codes: { name: 'codes', type: 'U8', elementsPerRow: (k) => k },
  shader: int8Shader,
  step: (block) => Math.fround(block.reduce((max, w) => Math.max(max, Math.abs(w)), 0) / 127),
  code: (scaled) => clamp(roundHalfAway(scaled), -127, 127),
  write: (codes, i, code) => {
    codes[i] = code;
  },
  read: (codes, i) => (codes[i]! << 24) >> 24,
  toGgml: (codes, first, out) => out.set(codes.subarray(first, first + BLOCK)),
  fromGgml: (bytes, codes, first) => codes.set(bytes, first),
});

/**
 * ggml's q4_0 (`quantize_row_q4_0_ref`): d = m / −8, where m is the first weight of largest magnitude, with its sign;
 * code = ⌊w · (1/d) + 8.5⌋, at most 15. Codes use d before it is rounded to f16, and every operation rounds to f32 (no
 * fused multiply-add). w = d · (code − 8).
 */
export const q4_0 = ggmlFormat({
  name: 'q4_0',
  codes: { name: 'codes', type: 'U8', elementsPerRow: (k) => k / 2 },
  shader: int4Shader,
  step: (block) => Math.fround(block.reduce((m, w) => (Math.abs(w) > Math.abs(m) ? w : m), 0) / -8),
  code: (scaled) => clamp(Math.trunc(Math.fround(scaled + 8.5)), 0, 15),
  write: writeNibble,
  read: (codes, i) => readNibble(codes, i) - 8,
  // ggml's byte j holds weight j (low nibble) and weight j + 16 (high).
  toGgml: (codes, first, out) => {
    for (let j = 0; j < BLOCK / 2; j++)
      out[j] = readNibble(codes, first + j) | (readNibble(codes, first + j + 16) << 4);
  },
  fromGgml: (bytes, codes, first) => {
    for (const [j, byte] of bytes.entries()) {
      writeNibble(codes, first + j, byte & 15);
      writeNibble(codes, first + j + 16, byte >>> 4);
    }
  },
});
