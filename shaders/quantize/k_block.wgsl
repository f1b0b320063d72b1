// What the quantizers of ggml's searched types share: GROUP weights, scaled by a power of two so that nothing overflows, a sub-block of them at
// hand. The order of every sum is that of src/formats/scale-search.ts.
// #include "../common/divide.wgsl"
// #include "../common/float16.wgsl"
// #include "source.wgsl"
// #include "gains.wgsl"
const VECTORS = SUB / 4u;
// Weights, ranges and scales below 2^-100 and 2^-126 count as zero.
const SMALLEST = 0x1p-100;
const SMALLEST_NORMAL = 0x1p-126;
// A trial has to be better by this factor: less is rounding, in which devices differ.
const CLEARLY = 1.0 - 0x1p-14;
// The same for what a trial explains, of which the error is a small part.
const CLEARLY_MORE = 1.0 - 0x1p-20;

// The sub-block at hand, and the codes of a trial. Only loops over them are unrolled, so that both stay in registers.
var<private> part: array<vec4<f32>, VECTORS>;
var<private> trial: array<vec4<f32>, VECTORS>;
// Rounds of codes from the best scale so far, of a thorough search, which compares trials by their errors.
const ROUNDS = 2u;
// Errors of thorough searches that differ by less than this, in units of the largest weight squared, are alike.
const ALIKE = 0x1p-38;

// 1 / unit, where weights are unit · part.
var<private> inverse_unit: f32;
var<private> unit: f32;

fn sum4(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

fn least4(v: vec4<f32>) -> f32 {
  return min(min(v.x, v.y), min(v.z, v.w));
}

fn most4(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

// Looks at the whole super-block: is it finite, and what is its unit?
fn open_block(first: u32) {
  var largest = vec4<u32>(0u);
  for (var i = first; i < end_of(first, GROUP); i += 4u) {
    largest = max(largest, bitcast<vec4<u32>>(load4_aligned(0u, i)) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  let exponent = min(magnitude >> 23u, 253u);
  unit = select(bitcast<f32>(exponent << 23u), 1.0, magnitude < bitcast<u32>(SMALLEST));
  inverse_unit = select(bitcast<f32>((254u - exponent) << 23u), 0.0, magnitude < bitcast<u32>(SMALLEST));
}

fn load_part(first: u32) {
  for (var i = 0u; i < VECTORS; i++) { part[i] = load4_aligned(0u, first + 4u * i) * inverse_unit; }
  load_gains(first);
}

// f16 bits of a step given in units.
fn step_bits(step: f32) -> u32 {
  return f16_bits_saturated(bitcast<u32>(step * unit));
}

// The multiple of `step` that is nearest to x.
fn multiple(x: f32, step: f32, least: f32, most: f32) -> f32 {
  return select(clamp(round(divide(x, step)), least, most), 0.0, abs(step) < SMALLEST_NORMAL);
}

fn inverse_of(x: f32) -> f32 {
  return select(reciprocal(x), 0.0, abs(x) < SMALLEST_NORMAL);
}

// Four small numbers, as f32, in four bytes.
fn bytes4(v: vec4<f32>) -> u32 {
  let bytes = vec4<u32>(vec4<i32>(v));
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}
