// Integer groups whose zero is the middle code: scale = −m / 2^(BITS−1) with m the first weight of largest magnitude,
// code = round(w / scale) + 2^(BITS−1), clamped; eight-bit codes are stored signed.
// #include "int_groups.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// Takes 128 off codes of eight bits, which makes them int8.
const FLIPPED = 0x80808080u;

// Of the group at hand.
var<private> scale: f32;
var<private> inverse: f32;

// Codes of four weights, as f32.
fn codes4(at: u32) -> vec4<f32> {
  let half = f32(1u << (BITS - 1u));
  let nearest = rounded_quotient4(load4_aligned(0u, at), scale, inverse, BITS);
  return clamp(nearest, vec4<f32>(-half), vec4<f32>(half - 1.0)) + half;
}

fn quantize_group(group: u32, last: bool) {
  let first = group * GROUP;
  let bounds = extremes(first, GROUP);
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  // Division by a power of two takes from the exponent; anything that small is zero.
  let exact = select(magnitude - ((BITS - 1u) << 23u), 0u, magnitude < 0x08000000u);
  let stored = float_bits(exact | select(0x80000000u, 0u, extreme_is_negative(first, GROUP, bounds)));
  scale = float_value(stored);
  // Of a scale of zero all codes are the middle.
  inverse = select(1.0 / scale, 0.0, stored == 0u);
  store_codes(first);
  store_scale(group, stored, last);
}
