import doubleShader from '../../shaders/formats/nf4.wgsl';
import singleShader from '../../shaders/formats/nf4_f32.wgsl';
import { checkWeights } from './checks.ts';
import { readNibble, writeNibble } from './codes.ts';
import { doubleQuantize, expandScales, nestedArray } from './double-quantize.ts';
import type { Format, FormatArray } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';

const f = Math.fround;

/** Weights that share a scale. */
export const GROUP = 64;

/** NormalFloat: quantiles of the normal distribution, with an exact zero (QLoRA, appendix E). */
export const LEVELS: readonly number[] = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
];
/** bitsandbytes' own middles between one level and the next. What is no larger takes the lower one. */
export const THRESHOLDS: readonly number[] = [
  -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
  -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
  0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
].map(f);

/** Groups whose largest magnitude is below this count as zeros: above, no product or difference leaves the normal range, where devices agree. */
const SMALLEST = 2 ** -80;

const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => k / 2 };
const single: readonly FormatArray[] = [codes, { name: 'scales', type: 'F32', elementsPerRow: (k) => k / GROUP }];
const double: readonly FormatArray[] = [
  codes,
  { name: 'scales', type: 'U8', elementsPerRow: (k) => k / GROUP },
  nestedArray(GROUP),
];

const codeOf = (x: number): number => THRESHOLDS.filter((threshold) => x > threshold).length;

/** Puts the codes of a group where they belong and returns its scale: the largest magnitude, whose inverse, rounded to f32, weights are multiplied by. */
function quantizeGroup(weights: Float32Array, to: Uint8Array, first: number): number {
  const largest = weights.reduce((m, w) => Math.max(m, Math.abs(w)), 0);
  // Divided by a power of two where 1 / largest would leave the normal range.
  const unit = largest < 2 ** 64 ? 1 : 2 ** -64;
  const inverse = largest < SMALLEST ? 0 : f(1 / (largest * unit));
  for (const [i, w] of weights.entries()) writeNibble(to, first + i, codeOf(f(f(w * unit) * inverse)));
  return largest < SMALLEST ? 0 : largest;
}

function quantizeSingle(weights: Float32Array, rows: number, k: number) {
  const host = allocateArrays(single, rows, k);
  const scales = new Float32Array(host.scales!.buffer);
  for (let g = 0; g < weights.length / GROUP; g++) {
    scales[g] = quantizeGroup(weights.subarray(g * GROUP, (g + 1) * GROUP), host.codes!, g * GROUP);
  }
  return { codes: host.codes!, scales };
}

const valuesUnder = (nibbles: Uint8Array, scales: Float32Array): Float32Array =>
  Float32Array.from(
    { length: scales.length * GROUP },
    (_, i) => LEVELS[readNibble(nibbles, i)]! * scales[Math.floor(i / GROUP)]!,
  );

const shared = {
  kind: 'block',
  block: GROUP,
  constants: {},
  grid: { group: GROUP, levels: LEVELS },
  codecs: {},
} as const satisfies Partial<Format>;

/** NF4 of bitsandbytes without double quantization: an f32 scale a group, 4.5 bits a weight. */
export const nf4Single: Format = {
  ...shared,
  name: 'nf4-f32',
  arrays: single,
  shader: singleShader,
  reference: {
    quantize(weights, rows, k, options) {
      checkWeights(weights, rows, k);
      checkOptions({ name: 'nf4-f32' }, k, options);
      const { codes: nibbles, scales } = quantizeSingle(weights, rows, k);
      return { codes: nibbles, scales: new Uint8Array(scales.buffer) };
    },
    dequantize(host, rows, k) {
      const [nibbles, scales] = single.map((array) => takeArray(host, array, rows, k));
      return valuesUnder(nibbles!, floats(scales!));
    },
  },
};

/**
 * NF4 of bitsandbytes with double quantization: w = level · scale, 64 weights of a row to a scale; 4.127 bits a weight. Codes are chosen under exact scales,
 * which `doubleQuantize` then makes bytes of, all of a matrix together.
 * Source: Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs", 2023; bitsandbytes, `quantize_4bit`.
 */
export const nf4: Format = {
  ...shared,
  name: 'nf4',
  arrays: double,
  single: nf4Single,
  shader: doubleShader,
  reference: {
    quantize(weights, rows, k, options) {
      checkWeights(weights, rows, k);
      checkOptions({ name: 'nf4' }, k, options);
      const host = allocateArrays(double, rows, k);
      const { codes: nibbles, scales } = quantizeSingle(weights, rows, k);
      const { codes: bytes, nested } = doubleQuantize(scales);
      host.codes!.set(nibbles);
      host.scales!.set(bytes);
      host.nested!.set(new Uint8Array(nested.buffer));
      return host;
    },
    dequantize(host, rows, k) {
      const [nibbles, scales, nested] = double.map((array) => takeArray(host, array, rows, k));
      return valuesUnder(nibbles!, expandScales(scales!.subarray(0, (rows * k) / GROUP), floats(nested!)));
    },
  },
};

/** A copy where the bytes do not start on a word. */
function floats(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
