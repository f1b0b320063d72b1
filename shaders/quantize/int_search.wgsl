// The method `search` of integer groups (src/formats/integer-search.ts): trial codes give a scale and a zero point by least squares, judged
// by the codes that these give. ZERO_BITS tells the kinds apart: 0 has the middle code as its zero, from 16 on zero points are floats.
override TRIALS: u32 = 18;
override FIRST: f32 = 0.921875;
override STEP: f32 = 0.03125;
override WEIGHTED: bool = false;
override FLOAT_ZERO: bool = ZERO_BITS >= 16u;
override MIDDLE: bool = ZERO_BITS == 0u;
override HALF: f32 = f32(1u << (BITS - 1u));
override LOWEST: f32 = select(0.0, -HALF, MIDDLE);
override HIGHEST: f32 = select(f32((1u << BITS) - 1u), HALF - 1.0, MIDDLE);
// Of zero points that are floats.
override FARTHEST: f32 = f32(4u << BITS);

const ROUNDS = 2u;
// A trial has to be better by this factor and by this much: less is rounding, in which devices differ.
const CLEARLY = 1.0 - 0x1p-14;
const ALIKE = 0x1p-38;
const SMALLEST_NORMAL = 0x1p-126;
const SMALLEST_RANGE = 0x1p-60;

// Weights are unit · x.
var<private> unit: f32;
var<private> inverse_unit: f32;
// Of the largest gain; 0 where none counts.
var<private> inverse_gain: f32;
var<private> start: u32;
// The column of weight `start`.
var<private> column: u32;

fn x4(i: u32) -> vec4<f32> {
  return load4_aligned(0u, start + i) * inverse_unit;
}

fn weigh(v: vec4<f32>, i: u32) -> vec4<f32> {
  if (WEIGHTED) { return v * select(importance[(column + i) >> 2u] * inverse_gain, vec4<f32>(1.0), inverse_gain == 0.0); }
  return v;
}

fn sum4(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

// The power of two by which a largest magnitude in [1, 4) is left, and its inverse.
fn unit_of(magnitude: u32) -> vec2<f32> {
  let exponent = min(magnitude >> 23u, 253u);
  return vec2<f32>(bitcast<f32>(exponent << 23u), bitcast<f32>((254u - exponent) << 23u));
}

// Rounded to twelve bits.
fn coarse(x: f32) -> u32 {
  return (bitcast<u32>(x) + 0x800u) & 0xfffff000u;
}

// Squared error of a scale, in units, and a zero point. The clamp keeps product and sum two operations.
fn error_of(own: f32, origin: f32) -> f32 {
  let own_inverse = select(divide(1.0, own), 0.0, own == 0.0);
  var errors = vec4<f32>(0.0);
  for (var i = 0u; i < end_of(0u, GROUP); i += 4u) {
    let x = x4(i);
    let steps = clamp(x * own_inverse, vec4<f32>(-0x1p20), vec4<f32>(0x1p20));
    var code = round(steps) + origin;
    if (FLOAT_ZERO) { code = round(steps + origin); }
    let difference = own * (clamp(code, vec4<f32>(LOWEST), vec4<f32>(HIGHEST)) - origin) - x;
    errors += weigh(difference * difference, i);
  }
  return sum4(errors);
}

// Scale and zero point that are best for the codes round((x − low) · factor).
fn fit(low: f32, factor: f32) -> vec2<f32> {
  var all = vec4<f32>(0.0);
  var all_q = vec4<f32>(0.0);
  var all_q2 = vec4<f32>(0.0);
  var all_x = vec4<f32>(0.0);
  var all_xq = vec4<f32>(0.0);
  for (var i = 0u; i < end_of(0u, GROUP); i += 4u) {
    let x = x4(i);
    let q = clamp(round((x - low) * factor), vec4<f32>(LOWEST), vec4<f32>(HIGHEST));
    all_q2 += weigh(q * q, i);
    all_xq += weigh(x * q, i);
    if (!MIDDLE) {
      all += weigh(vec4<f32>(1.0), i);
      all_q += weigh(q, i);
      all_x += weigh(x, i);
    }
  }
  let sum_q2 = sum4(all_q2);
  let sum_xq = sum4(all_xq);
  if (MIDDLE) { return vec2<f32>(select(0.0, divide(sum_xq, sum_q2), sum_q2 > 0.0), 0.0); }
  let sum_g = sum4(all);
  let sum_q = sum4(all_q);
  let sum_x = sum4(all_x);
  let determinant = sum_g * sum_q2 - sum_q * sum_q;
  if (!(determinant > 0.0)) { return vec2<f32>(0.0); }
  let best = divide(sum_g * sum_xq - sum_x * sum_q, determinant);
  if (!(best > SMALLEST_NORMAL)) { return vec2<f32>(0.0); }
  let offset = divide(sum_q2 * sum_x - sum_q * sum_xq, determinant);
  let exact = divide(-offset, best);
  if (FLOAT_ZERO) {
    // Farther away, codes would be small differences of large numbers.
    if (abs(exact) > FARTHEST) { return vec2<f32>(0.0); }
    return vec2<f32>(best, float_value(float_bits(coarse(exact))));
  }
  let origin = clamp(round(exact), LOWEST, HIGHEST);
  let below = sum_q2 - 2.0 * origin * sum_q + origin * origin * sum_g;
  return vec2<f32>(select(0.0, divide(sum_xq - origin * sum_x, below), below > 0.0), origin);
}

// Puts a better scale and zero point, where there are such, in place of those of the rule: `stored` and `zero`.
fn choose(first: u32) {
  start = first;
  column = first % columns();
  var lows = x_bits(first);
  var highs = lows;
  var largest_gain = vec4<u32>(0u);
  for (var i = 0u; i < end_of(0u, GROUP); i += 4u) {
    let bits = x_bits(first + i);
    lows = min(lows, bits);
    highs = max(highs, bits);
    if (WEIGHTED) { largest_gain = max(largest_gain, bitcast<vec4<u32>>(importance[(column + i) >> 2u])); }
  }
  // As integers in the order of the floats.
  let low_bits = ordered_bits(min(min(lows.x, lows.y), min(lows.z, lows.w)));
  let high_bits = ordered_bits(largest(highs));
  let magnitude = max(low_bits & 0x7fffffffu, high_bits & 0x7fffffffu);
  // From 2^-100 to 2^100: beyond, scales leave the range in which devices agree.
  if (magnitude < 0x0d800000u || magnitude >= 0x71800000u) { return; }
  let units = unit_of(magnitude);
  unit = units.x;
  inverse_unit = units.y;
  let gain = max(max(largest_gain.x, largest_gain.y), max(largest_gain.z, largest_gain.w));
  inverse_gain = select(0.0, unit_of(gain).y, gain >= 0x800000u);
  let low = bitcast<f32>(low_bits) * inverse_unit;
  let high = bitcast<f32>(high_bits) * inverse_unit;
  let range = select(high - low, max(high, -low), MIDDLE);
  if (range < SMALLEST_RANGE) { return; }
  let inverse_range = divide(1.0, range);
  let center = 0.5 * (low + high);
  let trials = select(TRIALS, 2u * TRIALS, MIDDLE);

  var best = vec2<f32>(float_value(stored) * inverse_unit, select(zero, 0.0, MIDDLE));
  var least = 0.0;
  // The rule's own first, then trials, then rounds of codes from the best.
  for (var t = 0u; t < end_of(0u, trials + ROUNDS + 1u); t++) {
    var bits = stored;
    var candidate = best;
    if (t > 0u) {
      var from_low = 0.0;
      var factor: f32;
      if (t > trials) {
        if (best.x == 0.0) { break; }
        factor = divide(1.0, best.x);
        from_low = clamp(-best.x * best.y, -0x1p120, 0x1p120);
      } else if (MIDDLE) {
        let ratio = FIRST + STEP * f32((t - 1u) >> 1u);
        factor = select(-HALF, HALF, ((t - 1u) & 1u) == 1u) * (ratio * inverse_range);
      } else {
        let ratio = FIRST + STEP * f32(t - 1u);
        factor = HIGHEST * ratio * inverse_range;
        from_low = center - divide(0.5 * range, ratio);
      }
      candidate = fit(from_low, factor);
      bits = float_bits(coarse(candidate.x * unit));
      candidate.x = float_value(bits) * inverse_unit;
      if (bits == 0u || abs(candidate.x) < SMALLEST_NORMAL) { continue; }
    }
    let error = error_of(candidate.x, candidate.y);
    if (t == 0u || error < least * CLEARLY - ALIKE) {
      least = error;
      best = candidate;
      stored = bits;
    }
  }
  if (!MIDDLE) { zero = best.y; }
}

// Bits of floats as integers in the order of the floats; its own inverse.
fn x_bits(at: u32) -> vec4<i32> {
  let bits = bitcast<vec4<i32>>(load4_aligned(0u, at));
  return bits ^ ((bits >> vec4<u32>(31u)) & vec4<i32>(0x7fffffff));
}

fn ordered_bits(order: i32) -> u32 {
  return bitcast<u32>(order ^ ((order >> 31u) & 0x7fffffff));
}
