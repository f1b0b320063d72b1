// q2_k: codes of two bits, sub-blocks of 16 with a byte for scale and minimum.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> steps: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

const SUB = 16u;
const LEVELS = 3.0;
const MOST = 15.0;

// #include "k_affine.wgsl"
// #include "../pack/q2_k_codes.wgsl"

fn clear(index: u32) {
  clear_codes(index);
  for (var i = 0u; i < end_of(0u, 4u); i++) { scales[4u * index + i] = 0u; }
}

fn write_scale(index: u32, j: u32, scale: u32, minimum: u32) {
  scales[4u * index + (j >> 2u)] |= (scale | (minimum << 4u)) << (8u * (j & 3u));
}
