// Codes in E2M1: the nearest of the doubled magnitudes 0, 1, 2, 3, 4, 6, 8, 12 times half the scale, of two the smaller.
// #include "../common/each.wgsl"
// #include "../common/float4_scales.wgsl"
// #include "source.wgsl"
// #include "pack.wgsl"
// #include "gains.wgsl"
// Scales are searched for.
override SEARCH: bool = false;
// A trial has to be better by this factor: less is rounding, in which devices differ.
const CLEARLY = 1.0 - 0x1p-14;

// Vectors of the weights at hand.
const VECTORS = GROUP / 4u;
var<private> block: array<vec4<f32>, VECTORS>;

// Bits of the largest magnitude of the weights from `first` on, which become those at hand.
fn load_block(first: u32) -> u32 {
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < VECTORS; i++) {
    block[i] = load4_aligned(0u, first + 4u * i);
    largest = max(largest, bitcast<vec4<u32>>(block[i]) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  return magnitude;
}

// Codes of block[i], as f32, for half the scale; products with it are exact.
fn codes4(i: u32, half: f32) -> vec4<f32> {
  let w = block[i];
  // A scale of zero has codes of zero.
  let size = select(abs(w), vec4<f32>(0.0), half == 0.0);
  let one = vec4<f32>(1.0);
  let zero = vec4<f32>(0.0);
  let magnitude = select(zero, one, size > vec4<f32>(0.5 * half)) + select(zero, one, size > vec4<f32>(1.5 * half))
    + select(zero, one, size > vec4<f32>(2.5 * half)) + select(zero, one, size > vec4<f32>(3.5 * half))
    + select(zero, one, size > vec4<f32>(5.0 * half)) + select(zero, one, size > vec4<f32>(7.0 * half))
    + select(zero, one, size > vec4<f32>(10.0 * half));
  return magnitude + select(zero, vec4<f32>(8.0), (w < zero) & (magnitude > zero));
}

// Their values, doubled magnitudes with a sign.
fn values4(i: u32, half: f32) -> vec4<f32> {
  let size = abs(block[i]);
  let one = vec4<f32>(1.0);
  let two = vec4<f32>(2.0);
  let zero = vec4<f32>(0.0);
  let magnitude = select(zero, one, size > vec4<f32>(0.5 * half)) + select(zero, one, size > vec4<f32>(1.5 * half))
    + select(zero, one, size > vec4<f32>(2.5 * half)) + select(zero, one, size > vec4<f32>(3.5 * half))
    + select(zero, two, size > vec4<f32>(5.0 * half)) + select(zero, two, size > vec4<f32>(7.0 * half))
    + select(zero, vec4<f32>(4.0), size > vec4<f32>(10.0 * half));
  return select(magnitude, -magnitude, block[i] < zero);
}

// Squared error of the weights at hand under half a scale, in units of 1 / inverse_unit.
fn error_of(half: f32, inverse_unit: f32) -> f32 {
  let scale = half * inverse_unit;
  var errors = vec4<f32>(0.0);
  for (var i = 0u; i < VECTORS; i++) {
    let difference = scale * values4(i, half) - block[i] * inverse_unit;
    errors += weigh(difference * difference, i);
  }
  return (errors.x + errors.y) + (errors.z + errors.w);
}

// Of the scales around the rule's, in the order of TRIALS trials, the one that leaves clearly the least error. The format defines
//   TRIALS, fn trial_scale(rule: u32, t: u32) -> u32           0 for what is none
//   fn half_scale(byte: u32) -> f32
fn search_scale(first: u32, rule: u32, magnitude: u32) -> u32 {
  load_gains(first);
  let inverse_unit = bitcast<f32>((254u - min(magnitude >> 23u, 253u)) << 23u);
  var least = error_of(half_scale(rule), inverse_unit);
  var best = rule;
  for (var t = 0u; t < end_of(0u, TRIALS); t++) {
    let byte = trial_scale(rule, t);
    if (byte == 0u) { continue; }
    let error = error_of(half_scale(byte), inverse_unit);
    if (error < least * CLEARLY) {
      least = error;
      best = byte;
    }
  }
  return best;
}
