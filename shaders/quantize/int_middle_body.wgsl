// Integer groups whose zero is the middle code: scale = −m / 2^(BITS−1) with m the first weight of largest magnitude,
// code = round(w / scale) + 2^(BITS−1), clamped; eight-bit codes are stored signed.
// The kernel declares the arrays, and fn choose(first: u32), which may put another scale in place of `stored`.
// #include "int_groups.wgsl"
// Takes 128 off codes of eight bits, which makes them int8.
const FLIPPED = 0x80808080u;

const ZERO_BITS = 0u;

// Of the group at hand: the bits of its scale.
var<private> stored: u32;
var<private> zero: f32;
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
  stored = float_bits(exact | select(0x80000000u, 0u, extreme_is_negative(first, GROUP, bounds)));
  choose(first);
  scale = float_value(stored);
  // Of a scale of zero all codes are the middle.
  inverse = select(1.0 / scale, 0.0, stored == 0u);
  store_codes(first);
  store_scale(group, stored, last);
}
