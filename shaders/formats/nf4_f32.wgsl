// Format nf4-f32: w = scale · level; one f32 scale for 64 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 64.
// #include "shared/nf4.wgsl"
// #include "shared/nibble_rows.wgsl"
@group(1) @binding(1) var<storage, read> weight_scales: array<f32>;

fn scale_of(at: u32) -> f32 {
  return weight_scales[at >> 6u];
}
