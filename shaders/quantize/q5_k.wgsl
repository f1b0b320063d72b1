// q5_k: q4_k with a fifth bit.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> steps: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

const SUB = 32u;
const LEVELS = 31.0;
const MOST = 63.0;

// #include "k_affine.wgsl"
// #include "../pack/q5_k_codes.wgsl"
// #include "six_bit_pairs.wgsl"

fn clear(index: u32) {
  clear_codes(index);
  for (var i = 0u; i < end_of(0u, 3u); i++) { scales[3u * index + i] = 0u; }
}
