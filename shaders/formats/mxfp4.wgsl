// Format mxfp4: codes E2M1, one power of two for 32 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 32.
// #include "../common/float4_scales.wgsl"
const GROUP = 32u;

fn scale_value(byte: u32) -> f32 {
  return half_e8m0(byte);
}

// #include "shared/float4_rows.wgsl"
