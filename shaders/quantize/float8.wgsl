// Groups of weights in FP8 (src/formats/fp8.ts): scale = largest magnitude / largest value, code = the value nearest to w / scale, ties to even.
// MANTISSA tells the types apart: 3 bits in e4m3, 2 in e5m2.
// #include "int_groups.wgsl"
// #include "../common/divide.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

override MANTISSA: u32 = 3;
override LARGEST_VALUE: f32 = 448.0;
override LARGEST_CODE: u32 = 0x7e;
// What the exponent of f32 is larger by, in place, and 2^-e of the smallest value above zero.
override REBIAS: u32 = (127u - 7u) << 23u;
override STEPS: f32 = 0x1p9;

const FLIPPED = 0u;
// Bits of 2^-90, below which a group counts as zero: no quotient leaves the normal range.
const SMALLEST_GROUP = 0x12800000u;

var<private> inverse: f32;

// Codes of four weights, as f32.
fn codes4(at: u32) -> vec4<f32> {
  let quotient = load4_aligned(0u, at) * inverse;
  let bits = bitcast<vec4<u32>>(quotient) & vec4<u32>(0x7fffffffu);
  let cut = vec4<u32>(23u - MANTISSA);
  let half = vec4<u32>((1u << (22u - MANTISSA)) - 1u);
  let normal = (bits - vec4<u32>(REBIAS) + half + ((bits >> cut) & vec4<u32>(1u))) >> cut;
  // Multiples of the smallest value, up to the smallest normal one.
  let small = vec4<u32>(round(min(bitcast<vec4<f32>>(bits) * STEPS, vec4<f32>(f32(1u << MANTISSA)))));
  let magnitude = min(select(normal, small, bits < vec4<u32>(REBIAS + (1u << 23u))), vec4<u32>(LARGEST_CODE));
  // Of what rounds to zero the sign is lost.
  return vec4<f32>(magnitude + select(vec4<u32>(0u), vec4<u32>(0x80u), (quotient < vec4<f32>(0.0)) & (magnitude > vec4<u32>(0u))));
}

fn quantize_group(group: u32, last: bool) {
  let first = group * GROUP;
  let bounds = extremes(first, GROUP);
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  let exact = divide_bits(max(magnitude, SMALLEST_GROUP), bitcast<u32>(LARGEST_VALUE));
  let stored = select(float_bits(exact), 0u, magnitude < SMALLEST_GROUP);
  let scale = bitcast<u32>(float_value(stored));
  inverse = select(bitcast<f32>(inverse_bits(max(scale, 0x00800000u))), 0.0, stored == 0u);
  store_codes(first);
  store_scale(group, stored, last);
}
