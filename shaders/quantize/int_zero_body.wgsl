// Integer groups with a zero point: with low = min(w, 0) and high = max(w, 0), scale = (high − low) / (2^BITS − 1),
// zero = −low / scale. Integers: zero = round(zero), code = round(w / scale) + zero; floats: code = round(w / scale + zero); all clamped.
// The kernel declares the arrays, and fn choose(first: u32), which may put others in place of `stored` and `zero`.
// #include "int_groups.wgsl"
const FLIPPED = 0u;
// Of a zero point; from 16 on it is a float.
override ZERO_BITS: u32 = 8;
override LEVELS: f32 = f32((1u << BITS) - 1u);

var<private> zero_word: u32;

fn store_zero(group: u32, bits: u32, last: bool) {
  if (ZERO_BITS == 32u) {
    zeros[group] = bits;
    return;
  }
  let at = group * ZERO_BITS;
  zero_word |= bits << (at & 31u);
  if (((at + ZERO_BITS) & 31u) == 0u || last) {
    zeros[at >> 5u] = zero_word;
    zero_word = 0u;
  }
}

// Of the group at hand: the bits of its scale.
var<private> stored: u32;
var<private> scale: f32;
var<private> inverse: f32;
var<private> zero: f32;

// Codes of four weights, as f32.
fn codes4(at: u32) -> vec4<f32> {
  let w = load4_aligned(0u, at);
  var code: vec4<f32>;
  if (ZERO_BITS >= 16u) { code = rounded_sum4(w, scale, inverse, zero, BITS + 3u); }
  else { code = rounded_quotient4(w, scale, inverse, BITS) + vec4<f32>(zero); }
  return clamp(code, vec4<f32>(0.0), vec4<f32>(LEVELS));
}

fn quantize_group(group: u32, last: bool) {
  let first = group * GROUP;
  let bounds = extremes(first, GROUP);
  if (u32(max(bounds.x, bounds.y)) >= INFINITY) { report(first, GROUP); }
  let range = min(bitcast<f32>(bounds.x), HUGE) + min(bitcast<f32>(bounds.y), HUGE);
  stored = float_bits(bitcast<u32>(divide(range, LEVELS)));
  scale = float_value(stored);
  zero = select(clamp(divide(bitcast<f32>(bounds.y), scale), 0.0, LEVELS), 0.0, stored == 0u);
  if (ZERO_BITS >= 16u) { zero = float_value(float_bits(bitcast<u32>(zero))); } else { zero = round(zero); }
  choose(first);
  scale = float_value(stored);
  // Of a scale of zero all codes are the zero point.
  inverse = select(1.0 / scale, 0.0, stored == 0u);
  store_codes(first);
  store_scale(group, stored, last);
  store_zero(group, select(u32(i32(zero)), float_bits(bitcast<u32>(zero)), ZERO_BITS >= 16u), last);
}
