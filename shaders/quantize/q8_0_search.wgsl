// q8_0 by the method `search`.
// #include "scale_pairs.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const LOWEST = -127.0;
const HIGHEST = 127.0;
// The level of the largest weight.
const END = 127.0;

// #include "block_signed.wgsl"
// #include "pack.wgsl"

fn searched_step() -> f32 {
  return abs(search_signed());
}

// Writes the levels of a block.
fn write_levels(index: u32) {
  for (var i = 0u; i < 2u; i++) {
    codes[2u * index + i] = vec4<u32>(
      pack_signed_bytes(trial[4u * i]),
      pack_signed_bytes(trial[4u * i + 1u]),
      pack_signed_bytes(trial[4u * i + 2u]),
      pack_signed_bytes(trial[4u * i + 3u]),
    );
  }
}
