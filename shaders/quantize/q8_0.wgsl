// ggml's q8_0: d = max|w| / 127, code = w / d to nearest, halves away from zero.
// #include "scale_pairs.wgsl"
// #include "source.wgsl"
// #include "pack.wgsl"
// #include "ggml_step.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const GROUP = 32u;

// Codes of four weights: |w| / d + ½ cut off, with its sign. The largest f32 below ½ stands for ½: with ½ itself, the
// sum would round up from just below a half. The bound keeps saturated blocks in range, and the product and the sum
// two operations: fused into one they round differently.
fn codes4(w: vec4<f32>, inverse: f32) -> u32 {
  let magnitude = floor(min(abs(w) * inverse, vec4<f32>(127.0)) + vec4<f32>(0x1.fffffep-2));
  let sign = bitcast<vec4<u32>>(w) & vec4<u32>(0x80000000u);
  return pack_signed_bytes(bitcast<vec4<f32>>(bitcast<vec4<u32>>(magnitude) | sign));
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(block: u32) -> u32 {
  let first = block * GROUP;
  var w: array<vec4<f32>, 8>;
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < 8u; i++) {
    w[i] = load4_aligned(0u, first + 4u * i);
    largest = max(largest, bitcast<vec4<u32>>(w[i]) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, 32u); }
  // 0x42fe0000 is 127; a subnormal maximum has a step that counts as zero.
  let step = select(saturated_step(divide_bits(magnitude, 0x42fe0000u)), 0u, magnitude < 0x800000u);
  let inverse = inverse_step(step, SMALLEST_STEP);
  codes[2u * block] = vec4<u32>(codes4(w[0], inverse), codes4(w[1], inverse), codes4(w[2], inverse), codes4(w[3], inverse));
  codes[2u * block + 1u] = vec4<u32>(codes4(w[4], inverse), codes4(w[5], inverse), codes4(w[6], inverse), codes4(w[7], inverse));
  return f16_bits(step);
}
