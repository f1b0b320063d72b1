// q4_0 by the method `search`.
// #include "scale_pairs.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const LOWEST = -8.0;
const HIGHEST = 7.0;
// The level of the largest weight.
const END = -8.0;

// #include "block_signed.wgsl"
// #include "pack.wgsl"

fn searched_step() -> f32 {
  return search_signed();
}

// Writes the levels of a block.
fn write_levels(index: u32) {
  for (var i = 0u; i < 4u; i++) {
    codes[4u * index + i] = pack_nibbles(trial[2u * i] + 8.0, trial[2u * i + 1u] + 8.0);
  }
}
