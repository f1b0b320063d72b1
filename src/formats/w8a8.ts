import w8a8Shader from '../../shaders/formats/w8a8.wgsl';
import { checkWeights } from './checks.ts';
import type { Format, FormatArray } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';
import { clamp, roundHalfEven } from './rounding.ts';

/** The largest code of weights and activations: −128 is left out, so that zero is in the middle. */
const LARGEST = 127;

/** Largest magnitudes below this count as zero, and scales below a 127th of it: f32 divides by the others without leaving its normal range. */
const SMALLEST = 2 ** -100;
const SMALLEST_SCALE = 2 ** -107;
/** Stored scales from this on count as infinite, for the same reason. */
const SCALE_LIMIT = 2 ** 120;

/**
 * Most weights in a row: a sum of k products of up to 128 · 127 has to stay below 2^31. What is made here has codes within ±127, but a file
 * may hold −128.
 */
export const MAX_ROW = Math.floor((2 ** 31 - 1) / (128 * LARGEST));

/** Bytes that the codes of a row take: each row starts on a word, and what is left of its last one is zero. */
export const codeBytes = (k: number): number => 4 * Math.ceil(k / 4);

/**
 * Codes of one row, and the scale that they are multiples of: max|x| / 127 in f32, unless one is `given`, whose sign is ignored.
 * code = round(x / scale), clamped to ±127; the quotient rounds to f32, then halves go to even. A scale of zero makes codes of zero. NaN or
 * infinity in the row makes codes of zero and the scale NaN, so that nothing computed from it looks finite.
 */
export function quantizeRow(values: Float32Array, codes: Int8Array, given?: number): number {
  codes.fill(0);
  let largest = 0;
  for (const x of values) largest = Math.max(largest, Math.abs(x));
  const stored = given === undefined ? undefined : Math.abs(given);
  if (!Number.isFinite(largest) || (stored !== undefined && !(stored < SCALE_LIMIT))) return Number.NaN;
  const measured = largest < SMALLEST ? 0 : Math.fround(largest / LARGEST);
  const scale = stored ?? measured;
  if (scale < SMALLEST_SCALE) return 0;
  for (const [i, x] of values.entries()) {
    codes[i] = clamp(roundHalfEven(Math.fround(x / scale)), -LARGEST, LARGEST);
  }
  return scale;
}

const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: codeBytes };
const scales: FormatArray = { name: 'scales', type: 'F32', elementsPerRow: () => 1 };
const activations: FormatArray = { name: 'activations', type: 'F32', elementsPerRow: () => 1 };

/**
 * Int8 weights with one f32 scale a row, for products of integers: activations become int8 as well and sums run in i32, exact.
 * Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, with both
 * zero points 0. `quantizeRow` makes codes and scales, of weights and of activations.
 */
function integerRows(name: string, kind: 'dynamic' | 'static'): Format {
  const arrays = kind === 'static' ? [codes, scales, activations] : [codes, scales];
  return {
    name,
    kind: 'block',
    block: 1,
    wholeRows: true,
    maxRow: MAX_ROW,
    activations: kind,
    arrays,
    shader: w8a8Shader,
    constants: {},
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name }, k, options);
        const host = allocateArrays(arrays, rows, k);
        const scale = floats(host.scales!);
        for (let row = 0; row < rows; row++) {
          const to = new Int8Array(host.codes!.buffer, row * codeBytes(k), k);
          scale[row] = quantizeRow(weights.subarray(row * k, (row + 1) * k), to);
        }
        return host;
      },
      dequantize(host, rows, k) {
        const bytes = takeArray(host, codes, rows, k);
        const scale = floats(takeArray(host, scales, rows, k));
        const values = new Float32Array(rows * k);
        for (let row = 0; row < rows; row++) {
          for (let i = 0; i < k; i++) {
            const code = (bytes[row * codeBytes(k) + i]! << 24) >> 24;
            values[row * k + i] = scale[row]! * code;
          }
        }
        return values;
      },
    },
    codecs: {},
  };
}

/** A copy where the bytes do not start on a word. */
function floats(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}

/** The scale of activations is measured for each token. */
export const w8a8 = integerRows('w8a8', 'dynamic');

/**
 * The scale of activations is stored: the same in every row, so that any rows of a weight stand for themselves; a product takes that of the
 * first. Quantizing leaves it 0: `withActivationScale` puts in what calibration found.
 */
export const w8a8Static = integerRows('w8a8-static', 'static');

/** The array of `rows` activation scales for activations whose largest magnitude is `absmax`. */
export function activationScales(absmax: number, rows: number): Uint8Array {
  return new Uint8Array(new Float32Array(rows).fill(Math.fround(absmax / LARGEST)).buffer);
}
