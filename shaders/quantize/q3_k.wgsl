// q3_k: codes of two bits and a third, sub-blocks of 16 with scales of six bits.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> multiples: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

const HALF = 4.0;
const REACH = 32.0;

// #include "k_signed.wgsl"
// #include "../pack/q3_k_codes.wgsl"

fn clear(index: u32) {
  clear_codes(index);
  for (var i = 0u; i < end_of(0u, 3u); i++) { multiples[3u * index + i] = 0u; }
}

fn write_scale(index: u32, j: u32, scale: u32) {
  let shift = 8u * (j & 3u);
  multiples[3u * index + ((j >> 2u) & 1u)] |= (scale & 15u) << (shift + 4u * (j >> 3u));
  multiples[3u * index + 2u] |= (scale >> 4u) << (shift + 2u * (j >> 2u));
}
