// The step d = m / −2^e of ggml's symmetric types, with m the first weight of largest magnitude (src/formats/ggml.ts
// states the rules).
// #include "extremes.wgsl"
// #include "ggml_step.wgsl"
// #include "block.wgsl"

// Bits of d, saturated where its f16 would be infinite. Of the 32 weights from `first` on, which become the block at hand.
fn signed_step(first: u32, e: u32) -> u32 {
  var high = vec4<i32>(0);
  var low = vec4<i32>(0);
  for (var i = 0u; i < 8u; i++) {
    block[i] = load4_aligned(0u, first + 4u * i);
    let bits = bitcast<vec4<i32>>(block[i]);
    high = max(high, bits);
    low = max(low, bits ^ vec4<i32>(-0x7fffffff - 1));
  }
  let bounds = vec2<i32>(largest(high), largest(low));
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, 32u); }
  // Division by a power of two takes from the exponent; anything that small counts as zero.
  let step = select(saturated_step(magnitude - (e << 23u)), 0u, magnitude < ((e + 1u) << 23u));
  return step | select(0x80000000u, 0u, extreme_is_negative(first, 32u, bounds));
}

// 1 / d.
fn signed_inverse(step: u32) -> f32 {
  let magnitude = step & 0x7fffffffu;
  return bitcast<f32>(bitcast<u32>(inverse_step(magnitude, SMALLEST_STEP)) | (step & 0x80000000u));
}

// Codes of the weights block[i], as f32. The clamp leaves every code as it is, given that from `last` on it is the
// largest already, and keeps the product and the sum two operations: fused into one they round differently.
fn signed_codes(i: u32, inverse: f32, last: f32, offset: f32) -> vec4<f32> {
  return floor(clamp(block[i] * inverse, vec4<f32>(-offset), vec4<f32>(last)) + vec4<f32>(offset));
}
