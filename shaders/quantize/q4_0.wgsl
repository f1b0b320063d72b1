// ggml's q4_0: d = m / −8 with m the first weight of largest magnitude, code = ⌊w / d + 8.5⌋.
// #include "scale_pairs.wgsl"
// #include "source.wgsl"
// #include "signed_step.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const GROUP = 32u;

fn codes4(i: u32, inverse: f32) -> vec4<f32> {
  return signed_codes(i, inverse, 7.0, 8.5);
}

// Codes of weights 8i .. 8i + 7.
fn eight(i: u32, inverse: f32) -> u32 {
  return pack_nibbles(codes4(2u * i, inverse), codes4(2u * i + 1u, inverse));
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let step = signed_step(GROUP * index, 3u);
  let inverse = signed_inverse(step);
  codes[index] = vec4<u32>(eight(0u, inverse), eight(1u, inverse), eight(2u, inverse), eight(3u, inverse));
  return f16_bits(step);
}
