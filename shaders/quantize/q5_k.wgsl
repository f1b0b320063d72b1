// q5_k: q4_k with a fifth bit.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> steps: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const SUB = 32u;
const LEVELS = 31.0;
const MOST = 63.0;

// #include "k_affine.wgsl"
// #include "six_bit_pairs.wgsl"

fn clear(index: u32) {
  for (var i = 0u; i < end_of(0u, 32u); i++) { codes[32u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 3u); i++) { scales[3u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 8u); i++) { high[8u * index + i] = 0u; }
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[32u * index + 8u * (j >> 1u) + i] |= (packed & 0x0f0f0f0fu) << (4u * (j & 1u));
  high[8u * index + i] |= ((packed >> 4u) & 0x01010101u) << j;
}
