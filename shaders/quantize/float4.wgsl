// Codes in E2M1: the nearest of the doubled magnitudes 0, 1, 2, 3, 4, 6, 8, 12 times half the scale, of two the smaller.
// #include "../common/grid.wgsl"
// #include "../common/float4_scales.wgsl"
// #include "source.wgsl"
// #include "pack.wgsl"
override WORKGROUP: u32 = 64;

// The weights at hand: 32, or 16 of them.
var<private> block: array<vec4<f32>, 8>;

// Bits of the largest magnitude of `count` vectors from weight `first` on, which become the weights at hand.
fn load_block(first: u32, count: u32) -> u32 {
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < count; i++) {
    block[i] = load4_aligned(0u, first + 4u * i);
    largest = max(largest, bitcast<vec4<u32>>(block[i]) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, 4u * count); }
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
