// The minimum m and the step d = (max w − m) / levels of ggml's types with a minimum (src/formats/ggml.ts states the
// rules). Extremes are found by integer comparison, which flushed subnormals can't disturb.
// #include "../common/divide.wgsl"
// #include "ggml_step.wgsl"
// #include "block.wgsl"

// Bits of both: saturated where their f16 would be infinite.
struct BlockRange { minimum: u32, step: u32 }

// Bits of floats as integers in the order of the floats (−0 just below +0); its own inverse.
fn ordered(bits: vec4<i32>) -> vec4<i32> {
  return bits ^ ((bits >> vec4<u32>(31u)) & vec4<i32>(0x7fffffff));
}

// The sign bit of the first zero in a block.
fn sign_of_zero(first: u32) -> u32 {
  for (var i = first; i < end_of(first, 32u); i += 4u) {
    let bits = bitcast<vec4<u32>>(load4_aligned(0u, i));
    let zero = (bits << vec4<u32>(1u)) == vec4<u32>(0u);
    if (any(zero)) { return bits[first_of(zero)]; }
  }
  return 0u;
}

// Of the 32 weights from `first` on, which become the block at hand. `levels`: the bits of 2^bits − 1 as f32.
fn block_range(first: u32, levels: u32) -> BlockRange {
  var low4 = vec4<i32>(0x7fffffff);
  var high4 = -low4;
  for (var i = 0u; i < 8u; i++) {
    block[i] = load4_aligned(0u, first + 4u * i);
    let order = ordered(bitcast<vec4<i32>>(block[i]));
    low4 = min(low4, order);
    high4 = max(high4, order);
  }
  let low = min(min(low4.x, low4.y), min(low4.z, low4.w));
  let high = max(max(high4.x, high4.y), max(high4.z, high4.w));
  let ends = bitcast<vec4<u32>>(ordered(vec4<i32>(low, high, 0, 0)));
  let magnitude = max(ends.x & 0x7fffffffu, ends.y & 0x7fffffffu);
  if (magnitude >= INFINITY) { report(first, 32u); }
  var minimum = (ends.x & 0x80000000u) | saturated_step(ends.x & 0x7fffffffu);
  // Of two zeros the first counts, as a comparison of floats has it.
  if ((ends.x << 1u) == 0u) { minimum = sign_of_zero(first); }
  // A quarter of huge weights, lest their difference be infinite: its step saturates all the same.
  let shrink = select(1.0, 0.25, magnitude >= 0x7e800000u);
  let range = bitcast<u32>(bitcast<f32>(ends.y) * shrink - bitcast<f32>(ends.x) * shrink);
  return BlockRange(minimum, select(saturated_step(divide_bits(range, levels)), 0u, range < 0x800000u));
}

// Codes of the weights block[i], as f32. The clamp leaves every code as it is and keeps the product and the sum two operations:
// fused into one they round differently.
fn codes_above(i: u32, minimum: f32, inverse: f32, levels: f32) -> vec4<f32> {
  let scaled = (block[i] - vec4<f32>(minimum)) * inverse;
  return floor(clamp(scaled, vec4<f32>(0.0), vec4<f32>(levels)) + vec4<f32>(0.5));
}
