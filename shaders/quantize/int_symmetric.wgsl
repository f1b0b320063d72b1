// Symmetric integer groups: scale = f16(−m / 2^(BITS−1)) with m the first weight of largest magnitude,
// code = round(w / scale) + 2^(BITS−1), clamped; eight-bit codes are stored signed.
// #include "scale_pairs.wgsl"
// #include "../common/float16.wgsl"
// #include "source.wgsl"
// #include "extremes.wgsl"
// #include "rounding.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

override BITS: u32 = 4;
override GROUP: u32 = 32;
// Words that a group's codes take.
override WORDS: u32 = GROUP * BITS / 32;

// Signed codes of four weights.
fn codes4(at: u32, scale: f32, inverse: f32) -> vec4<f32> {
  let half = f32(1u << (BITS - 1u));
  let nearest = rounded_quotient4(load4_aligned(0u, at), scale, inverse, BITS);
  return clamp(nearest, vec4<f32>(-half), vec4<f32>(half - 1.0));
}

fn word(at: u32, scale: f32, inverse: f32) -> u32 {
  if (BITS == 8u) { return pack_signed_bytes(codes4(at, scale, inverse)); }
  return pack_nibbles(codes4(at, scale, inverse) + 8.0, codes4(at + 4u, scale, inverse) + 8.0);
}

// Quantizes one group and returns the f16 bits of its scale.
fn quantize_block(group: u32) -> u32 {
  let first = group * GROUP;
  let bounds = extremes(first, GROUP);
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  // Division by a power of two takes from the exponent; anything that small is zero in f16.
  let exact = select(magnitude - ((BITS - 1u) << 23u), 0u, magnitude < 0x08000000u);
  let stored = f16_bits_saturated(exact);
  if (stored == 0u) {
    for (var i = 0u; i < WORDS; i++) {
      codes[group * WORDS + i] = select(0x88888888u, 0u, BITS == 8u);
    }
    return 0u;
  }
  let sign = select(0x8000u, 0u, extreme_is_negative(first, GROUP, bounds));
  let scale = f16_value(stored | sign);
  let inverse = 1.0 / scale;
  for (var i = 0u; i < WORDS; i++) {
    codes[group * WORDS + i] = word(first + 32u / BITS * i, scale, inverse);
  }
  return stored | sign;
}
