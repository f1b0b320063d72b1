// q5_0 by the method `search`.
// #include "scale_pairs.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

const LOWEST = -16.0;
const HIGHEST = 15.0;
// The level of the largest weight.
const END = -16.0;

// #include "block_signed.wgsl"
// #include "pack.wgsl"

fn searched_step() -> f32 {
  return search_signed();
}

// Writes the levels of a block.
fn write_levels(index: u32) {
  var fifths = 0u;
  for (var i = 0u; i < 4u; i++) {
    let packed = pack_fives(trial[2u * i] + 16.0, trial[2u * i + 1u] + 16.0);
    codes[4u * index + i] = packed.x;
    fifths |= packed.y << (i << 3u);
  }
  high[index] = fifths;
}
