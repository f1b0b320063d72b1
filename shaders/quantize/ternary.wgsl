// The digits of ggml's ternary types: d = max|w| of 256 weights, digit = w / d to nearest, halves away from zero, plus 1.
// #include "scale_pairs.wgsl"
// #include "source.wgsl"
// #include "ggml_step.wgsl"
const GROUP = 256u;

// Bits of d, saturated where its f16 would be infinite. Of the block from weight `first` on.
fn ternary_step(first: u32) -> u32 {
  var largest = vec4<u32>(0u);
  for (var i = first; i < end_of(first, GROUP); i += 4u) {
    largest = max(largest, bitcast<vec4<u32>>(load4_aligned(0u, i)) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, GROUP); }
  return saturated_step(magnitude);
}

// Digits of weights at .. at + 3.
fn ternary_digits4(at: u32, inverse: f32) -> vec4<u32> {
  let scaled = load4_aligned(0u, at) * inverse;
  let away = select(vec4<u32>(2u), vec4<u32>(0u), scaled < vec4<f32>(0.0));
  return select(vec4<u32>(1u), away, abs(scaled) >= vec4<f32>(0.5));
}
