// Format iq4_nl: w = scale · level; one f16 scale for 32 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 32.
// #include "shared/scales.wgsl"
// #include "shared/iq4.wgsl"
// #include "shared/nibble_rows.wgsl"

fn scale_of(at: u32) -> f32 {
  return load_scale(at >> 5u);
}
