import type { IntegerParameters } from './integer-names.ts';
import { type GroupScale, roundToNearest } from './integer-rounding.ts';
import { farthestZero, LARGEST, leadingBits } from './integer-search.ts';
import { clamp, roundHalfEven } from './rounding.ts';
import { CLEARLY, divide } from './scale-search.ts';
import { STORED_FLOATS } from './scale-type.ts';

const f = Math.fround;

// The published settings: the exponent of the error, the first weight of the penalty, its growth a round, and the rounds at most.
const P = 0.7;
const BETA = 10;
const GROWTH = 1.01;
const ROUNDS = 20;

/** Residuals below this many steps are rounding of f32, in which devices differ, and count as none. */
const NEGLIGIBLE = 2 ** -16;

/**
 * Scale and zero point of a group by half-quadratic quantization (Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning
 * Models", 2023), which needs no data. The scale is that of `roundToNearest`; the zero point z is moved to lower Σ|w − wr|^p, p = 0.7, which
 * counts outliers less than squares do. Rounds of
 *
 *     q  = clamp(round(w / s + z))          wr = s · (q − z)
 *     we = shrink(w − wr)                   shrink(e) = sign(e) · max(|e| − |e|^(p−1) / β, 0)
 *     z  = mean(q − (w − we) / s)           β = 10, and 1.01 times as much each round
 *
 * at most 20, until mean |w − wr| no longer falls. β is meant for weights of some size: those a thousand times as large would leave we = w − wr
 * and z where it was. So all is measured in steps of the group, w / s in place of w, and a group times a power of two gets the same codes. Each
 * zero point is rounded to what is stored before it is judged, and the round with the least Σ|w − wr|^p is taken, that of `roundToNearest`
 * being the first; the published code takes the last. Every operation rounds to f32 in the order in which shaders/quantize/int_hqq.wgsl computes.
 */
export function hqqGroup(weights: Float32Array, parameters: IntegerParameters): GroupScale {
  const { bits, scale: type } = parameters;
  const stored = STORED_FLOATS[type];
  const highest = 2 ** bits - 1;
  const rule = roundToNearest(weights, parameters);
  // Beyond, scales leave the range in which devices agree.
  if (rule.scale === 0 || weights.some((w) => Math.abs(w) >= LARGEST)) return rule;
  const inverse = divide(1, rule.scale);
  let zero = rule.zero;
  let best = zero;
  let least = Number.POSITIVE_INFINITY;
  let before = Number.POSITIVE_INFINITY;
  let inverseBeta = f(1 / BETA);
  for (let t = 0; t < ROUNDS; t++) {
    // Four lanes along the weights, as the kernel has them.
    const errors = new Float32Array(4);
    const magnitudes = new Float32Array(4);
    const zeros = new Float32Array(4);
    for (const [i, w] of weights.entries()) {
      const lane = i & 3;
      const x = clamp(f(w * inverse), -(2 ** 20), 2 ** 20);
      const q = clamp(roundHalfEven(f(x + zero)), 0, highest);
      const residual = f(x - f(q - zero));
      const size = Math.abs(residual);
      const power = f(Math.max(size, NEGLIGIBLE) ** f(P - 1));
      const rest = Math.max(f(size - f(power * inverseBeta)), 0);
      errors[lane]! += size < NEGLIGIBLE ? 0 : f(size * power);
      magnitudes[lane]! += size;
      zeros[lane]! += f(q - f(x - Math.sign(residual) * rest));
    }
    const error = sum4(errors);
    if (t === 0 || error < f(least * CLEARLY)) [least, best] = [error, zero];
    const magnitude = sum4(magnitudes);
    if (!(magnitude < before)) break;
    before = magnitude;
    const mean = f(sum4(zeros) / weights.length);
    if (Math.abs(mean) > farthestZero(bits)) break;
    zero = stored.round(leadingBits(mean, 16));
    inverseBeta = f(inverseBeta * f(1 / GROWTH));
  }
  return { scale: rule.scale, zero: best };
}

const sum4 = ([x, y, z, w]: Float32Array): number => f(f(x! + y!) + f(z! + w!));
