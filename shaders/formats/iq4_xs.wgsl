// Format iq4_xs: w = d · multiple · level; sub-blocks of 32 with multiples of six bits, a nibble and two bits more.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/scales.wgsl"
// #include "shared/iq4.wgsl"
// #include "shared/nibble_rows.wgsl"
@group(1) @binding(2) var<storage, read> weight_multiples: array<u32>;
@group(1) @binding(3) var<storage, read> weight_high: array<u32>;

// Exact.
fn scale_of(at: u32) -> f32 {
  let block = at >> 8u;
  let j = (at >> 5u) & 7u;
  let low = (weight_multiples[block] >> (4u * j)) & 15u;
  let high = (weight_high[block >> 1u] >> (16u * (block & 1u) + 2u * j)) & 3u;
  return load_scale(block) * f32(i32(low | (high << 4u)) - 32);
}
