import tq1Shader from '../../shaders/formats/tq1_0.wgsl';
import tq2Shader from '../../shaders/formats/tq2_0.wgsl';
import { blockCodec } from './block-codec.ts';
import { checkWeights } from './checks.ts';
import { f16BitsToF32, f32ToF16Bits } from './float16.ts';
import type { Format, FormatArray } from './format.ts';
import { SMALLEST_STEP, saturateStep } from './ggml-step.ts';
import { allocateArrays, readU16, takeArray, writeU16 } from './layout.ts';
import { checkOptions } from './methods.ts';

/** Weights of a super-block. */
const BLOCK = 256;

const scales: FormatArray = { name: 'scales', type: 'F16', elementsPerRow: (k) => k / BLOCK };

interface TernaryType {
  readonly name: string;
  readonly shader: Format['shader'];
  /** Bytes of codes in a block. */
  readonly codeBytes: number;
  /** Fills zeroed codes of one block from its digits 0, 1, 2. */
  pack(digits: Uint8Array, codes: Uint8Array): void;
  /** The digit of weight `i` of a block. */
  digit(codes: Uint8Array, i: number): number;
}

function ternary({ name, shader, codeBytes, pack, digit }: TernaryType): Format {
  const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => (k / BLOCK) * codeBytes };
  const arrays = [codes, scales];
  return {
    name,
    kind: 'block',
    block: BLOCK,
    arrays,
    shader,
    constants: {},
    grid: { group: BLOCK, levels: [-1, 0, 1] },
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name }, k, options);
        const host = allocateArrays(arrays, rows, k);
        for (let block = 0; block < weights.length / BLOCK; block++) {
          const values = weights.subarray(block * BLOCK, (block + 1) * BLOCK);
          const d = saturateStep(values.reduce((max, w) => Math.max(max, Math.abs(w)), 0));
          const inverse = d < SMALLEST_STEP ? 0 : Math.fround(1 / d);
          writeU16(host.scales!, block, f32ToF16Bits(d));
          const digits = Uint8Array.from(values, (w) => {
            const scaled = Math.fround(w * inverse);
            return Math.abs(scaled) < 0.5 ? 1 : scaled < 0 ? 0 : 2;
          });
          pack(digits, host.codes!.subarray(block * codeBytes, (block + 1) * codeBytes));
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        return Float32Array.from({ length: rows * k }, (_, i) => {
          const block = Math.floor(i / BLOCK);
          const d = f16BitsToF32(readU16(host.scales!, block));
          return d * (digit(host.codes!.subarray(block * codeBytes, (block + 1) * codeBytes), i % BLOCK) - 1);
        });
      },
    },
    codecs: { ggml: blockCodec(name, BLOCK, arrays, [{ array: codes }, { array: scales }]) },
  };
}

/** Where tq1_0 keeps weight `i`: bytes hold five digits each, of weights that are 32, 16 or, in the last four bytes, 4 apart. */
function place(i: number): { byte: number; digit: number } {
  if (i < 160) return { byte: i % 32, digit: Math.floor(i / 32) };
  if (i < 240) return { byte: 32 + (i % 16), digit: Math.floor((i - 160) / 16) };
  return { byte: 48 + (i % 4), digit: Math.floor((i - 240) / 4) };
}

/**
 * ggml's tq1_0 (`quantize_row_tq1_0_ref`), 1.69 bits a weight: d = max|w|, digit = w · (1/d) to nearest, halves away from zero,
 * plus 1. A byte is a fraction of 256 with five digits base 3, the first weight's the most significant: multiplied by a power of 3, its
 * next digit is what overflows. w = d · (digit − 1).
 */
export const tq1_0 = ternary({
  name: 'tq1_0',
  shader: tq1Shader,
  codeBytes: 52,
  pack(digits, codes) {
    const sums = new Uint16Array(codes.length);
    for (const [i, value] of digits.entries()) {
      const { byte, digit } = place(i);
      sums[byte]! += value * 3 ** (4 - digit);
    }
    for (const [i, sum] of sums.entries()) codes[i] = Math.ceil((sum * 256) / 243);
  },
  digit(codes, i) {
    const { byte, digit } = place(i);
    return (((codes[byte]! * 3 ** digit) & 255) * 3) >> 8;
  },
});

/** Where tq2_0 keeps weight `i` of a block: bytes hold two bits of four weights that are 32 apart. */
const pairOf = (i: number) => ({ byte: 32 * (i >> 7) + (i & 31), shift: 2 * ((i >> 5) & 3) });

/** ggml's tq2_0 (`quantize_row_tq2_0_ref`), 2.06 bits a weight: the digits of `tq1_0`, two bits each. */
export const tq2_0 = ternary({
  name: 'tq2_0',
  shader: tq2Shader,
  codeBytes: 64,
  pack(digits, codes) {
    for (const [i, value] of digits.entries()) {
      const { byte, shift } = pairOf(i);
      codes[byte]! |= value << shift;
    }
  },
  digit(codes, i) {
    const { byte, shift } = pairOf(i);
    return (codes[byte]! >> shift) & 3;
  },
});
