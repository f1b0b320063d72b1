// Format nf4: w = scale · level; a byte for 64 weights of a row, and for 256 such, counted over rows, two floats: scale = map[byte] · nested + offset.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 64.
// #include "../common/dynamic_map.wgsl"
// #include "shared/nf4.wgsl"
// #include "shared/nibble_rows.wgsl"
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;
@group(1) @binding(2) var<storage, read> weight_nested: array<vec2<f32>>;

const LARGEST = 0x1.fffffep127;

fn scale_of(at: u32) -> f32 {
  let group = at >> 6u;
  let nested = weight_nested[group >> 8u];
  // What a damaged file may hold shows in the weights.
  if ((bitcast<u32>(nested.x) & 0x7f800000u) == 0x7f800000u) { return nested.x; }
  let value = dynamic_value((weight_scales[group >> 2u] >> ((group & 3u) << 3u)) & 0xffu);
  // The clamp keeps product and sum two operations.
  return clamp(value * nested.x, -LARGEST, LARGEST) + nested.y;
}
