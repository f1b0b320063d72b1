import { describe, expect, test } from 'vitest';
import { doubleQuantize, expandScales } from '../../../src/formats/double-quantize.ts';
import { DYNAMIC_MAP, dynamicCode } from '../../../src/formats/dynamic-map.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { gaussian, generator } from '../../gpu/weight-cases.ts';

const nf4 = formatByName('nf4');
const single = formatByName('nf4-f32');

// As bitsandbytes has them: `dDequantizeNF4`.
const LEVELS = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

/** The comparisons of `dQuantizeNF4`: [threshold, code where x is no larger] in ascending order. */
const THRESHOLDS: readonly (readonly [number, number])[] = [
  [-0.8480964004993439, 0],
  [-0.6106329262256622, 1],
  [-0.4599952697753906, 2],
  [-0.33967943489551544, 3],
  [-0.23460740596055984, 4],
  [-0.13791173323988914, 5],
  [-0.045525018125772476, 6],
  [0.03979014977812767, 7],
  [0.1202552504837513, 8],
  [0.2035212516784668, 9],
  [0.2920137718319893, 10],
  [0.3893125355243683, 11],
  [0.5016634166240692, 12],
  [0.6427869200706482, 13],
  [0.8614784181118011, 14],
];

/** The positive numbers of `create_dynamic_map(signed=True, max_exponent_bits=7, total_bits=8)` but 1, as its files hold them. */
const POSITIVE = [
  0.992968738079071, 0.9789062738418579, 0.96484375, 0.9507812261581421, 0.936718761920929, 0.922656238079071,
  0.9085937738418579, 0.89453125, 0.8804687261581421, 0.866406261920929, 0.852343738079071, 0.8382812738418579,
  0.82421875, 0.8101562261581421, 0.796093761920929, 0.782031238079071, 0.7679687738418579, 0.75390625,
  0.7398437261581421, 0.725781261920929, 0.7117187976837158, 0.6976562738418579, 0.68359375, 0.6695312261581421,
  0.655468761920929, 0.6414062976837158, 0.6273437738418579, 0.61328125, 0.5992187261581421, 0.585156261920929,
  0.5710937976837158, 0.5570312738418579, 0.54296875, 0.5289062261581421, 0.5148437023162842, 0.500781238079071,
  0.48671871423721313, 0.47265625, 0.4585937261581421, 0.44453126192092896, 0.43046873807907104, 0.4164062440395355,
  0.40234375, 0.3882812261581421, 0.37421876192092896, 0.36015623807907104, 0.3460937440395355, 0.33203125,
  0.3179687261581421, 0.30390626192092896, 0.28984373807907104, 0.2757812738418579, 0.26171875, 0.24765624105930328,
  0.23359374701976776, 0.21953125298023224, 0.20546874403953552, 0.19140625, 0.17734375596046448, 0.16328124701976776,
  0.14921875298023224, 0.13515624403953552, 0.12109375, 0.10703125596046448, 0.09859374910593033, 0.09578125923871994,
  0.09296875447034836, 0.09015624970197678, 0.08734375238418579, 0.08453124761581421, 0.08171875774860382,
  0.07890625298023224, 0.07609374821186066, 0.07328125089406967, 0.07046874612569809, 0.0676562562584877,
  0.06484375149011612, 0.062031250447034836, 0.05921875312924385, 0.05640624836087227, 0.053593751043081284, 0.05078125,
  0.047968748956918716, 0.04515625163912773, 0.04234374687075615, 0.039531249552965164, 0.03671875223517418,
  0.033906251192092896, 0.031093750149011612, 0.028281250968575478, 0.025468749925494194, 0.02265625074505806,
  0.019843751564621925, 0.017031250521540642, 0.014218750409781933, 0.011406250298023224, 0.009718749672174454,
  0.009156249463558197, 0.008593750186264515, 0.008031249977648258, 0.0074687497690320015, 0.006906250026077032,
  0.006343749817460775, 0.005781250074505806, 0.0052187503315508366, 0.0046562496572732925, 0.004093749914318323,
  0.0035312497057020664, 0.002968749962747097, 0.002406249986961484, 0.001843750011175871, 0.001281249918974936,
  0.0009437500848434865, 0.0008312499849125743, 0.0007187500596046448, 0.0006062500760890543, 0.000493750034365803,
  0.0003812500217463821, 0.0002687500382307917, 0.00015625001105945557, 8.874999912222847e-5, 6.625000241911039e-5,
  4.374999844003469e-5, 2.1249998098937795e-5, 7.749999895168003e-6, 3.250000190746505e-6, 5.500000384017767e-7,
];

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
/** The f32 `by` units in the last place farther from zero. */
function moved(x: number, by: number): number {
  float[0] = x;
  bits[0] = bits[0]! + by;
  return float[0]!;
}

/** Codes of a group in the order of its weights, read from words of eight: four low nibbles, four high. */
const codesOf = (bytes: Uint8Array) =>
  Array.from({ length: bytes.length * 2 }, (_, i) => (bytes[(i >> 3) * 4 + (i & 3)]! >> (i & 4 ? 4 : 0)) & 15);

test('weights are the published levels times the largest magnitude', () => {
  for (const largest of [1, 0.375, 2 ** -40]) {
    // Each level, and the largest itself.
    const weights = Float32Array.from({ length: 64 }, (_, i) => LEVELS[i % 16]! * largest);
    const arrays = single.reference.quantize(weights, 1, 64);
    expect(codesOf(arrays.codes!)).toEqual(Array.from({ length: 64 }, (_, i) => i % 16));
    expect([...new Float32Array(arrays.scales!.buffer)]).toEqual([largest]);
    expect(single.reference.dequantize(arrays, 1, 64)).toEqual(weights);
  }
});

test('at every threshold, and one unit in the last place on either side, the code is that of the published comparisons', () => {
  for (const largest of [1, 2 ** -30, 2 ** 100]) {
    for (const [threshold, code] of THRESHOLDS) {
      const [at, inward, outward] = [moved(threshold, 0), moved(threshold, -1), moved(threshold, 1)];
      const [below, above] = threshold < 0 ? [outward, inward] : [inward, outward];
      const weights = new Float32Array(64);
      weights.set([below * largest, at * largest, above * largest, largest]);
      const { codes } = single.reference.quantize(weights, 1, 64);
      expect(codesOf(codes!).slice(0, 5), `${threshold}`).toEqual([code, code, code + 1, 15, 7]);
    }
  }
});

test('a group of zeros, and weights that f32 hardly holds', () => {
  const zeros = single.reference.quantize(new Float32Array(64).fill(-0), 1, 64);
  expect(codesOf(zeros.codes!)).toEqual(new Array(64).fill(7));
  const tiny = single.reference.quantize(new Float32Array(64).fill(2 ** -140), 1, 64);
  expect(tiny).toEqual(zeros);
  const huge = new Float32Array(64).fill(3.4e38);
  for (const format of [nf4, single]) {
    const values = format.reference.dequantize(format.reference.quantize(huge, 1, 64), 1, 64);
    expect(values.every((value) => Number.isFinite(value) && value >= 2 ** 127)).toBe(true);
  }
});

describe('the dynamic map', () => {
  test('holds the published numbers', () => {
    const wanted = [...POSITIVE.map((x) => -x), 0, ...[...POSITIVE].reverse(), 1];
    expect(wanted).toHaveLength(256);
    expect([...DYNAMIC_MAP]).toEqual(wanted);
  });

  test('each number has its own code, and what lies between two goes to the nearer; from the middle to the even', () => {
    for (const [code, value] of DYNAMIC_MAP.entries()) {
      expect(dynamicCode(value)).toBe(code);
      const next = DYNAMIC_MAP[code + 1];
      if (next === undefined) continue;
      const middle = Math.fround(Math.fround(value + next) * 0.5);
      const even = code % 2 === 0 ? code : code + 1;
      const [lower, higher] = middle < 0 ? [1, -1] : [-1, 1];
      expect([dynamicCode(moved(middle, lower)), dynamicCode(middle), dynamicCode(moved(middle, higher))]).toEqual([
        code,
        even,
        code + 1,
      ]);
    }
    expect([dynamicCode(-1), dynamicCode(1)]).toEqual([0, 255]);
  });
});

describe('double quantization', () => {
  test('takes the mean off and leaves each scale within half a step of its block', () => {
    const next = generator(4);
    for (const count of [1, 2, 255, 256, 257, 1000, 256 * 300 + 17]) {
      const scales = Float32Array.from({ length: count }, () => Math.abs(gaussian(next)) * 0.1 + 0.5);
      const { codes, nested } = doubleQuantize(scales);
      expect(nested).toHaveLength(2 * Math.ceil(count / 256));
      const mean = scales.reduce((sum, x) => sum + x, 0) / count;
      const back = expandScales(codes, nested);
      for (let block = 0; block < nested.length / 2; block++) {
        const own = scales.subarray(256 * block, 256 * (block + 1));
        // Sums of trees of f32.
        expect(Math.abs(nested[2 * block + 1]! / mean - 1)).toBeLessThan(1e-6);
        const largest = own.reduce((m, x) => Math.max(m, Math.abs(Math.fround(x - nested[1]!))), 0);
        expect(nested[2 * block]).toBe(largest);
        for (const [i, x] of own.entries()) {
          // Half of the widest step, and of the lowest code, which is short of −1, all of what is missing.
          expect(Math.abs(back[256 * block + i]! - x)).toBeLessThanOrEqual(0.00704 * largest + 1e-6);
        }
      }
    }
  });

  test('scales that are all the same come back exactly, zeros and the largest too', () => {
    for (const value of [0, 0.1, 2 ** -80, 2 ** 127]) {
      const scales = new Float32Array(300).fill(value);
      const { codes, nested } = doubleQuantize(scales);
      const [offset] = [nested[1]!];
      // The mean of equal numbers may be rounded; what is left of each is then in the map's reach.
      expect(Math.abs(offset - value)).toBeLessThanOrEqual(2 ** -22 * value);
      for (const back of expandScales(codes, nested))
        expect(Math.abs(back - value)).toBeLessThanOrEqual(2 ** -23 * value);
    }
  });

  test('rows that are cut where blocks are not say so', () => {
    expect(nf4.arrays.map(({ span }) => span)).toEqual([undefined, undefined, 64 * 256]);
    expect(nf4.single).toBe(single);
  });
});
