// q4_1 by the method `search`.
// #include "minimum_pairs.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> minima: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

const LEVELS = 15.0;

// #include "block_affine.wgsl"
// #include "pack.wgsl"

// Writes the codes of a block.
fn write_levels(index: u32) {
  for (var i = 0u; i < 4u; i++) { codes[4u * index + i] = pack_nibbles(trial[2u * i], trial[2u * i + 1u]); }
}
