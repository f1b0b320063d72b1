// Format nvfp4: codes E2M1, one scale in unsigned E4M3 for 16 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 64.
// #include "../common/float4_scales.wgsl"
const GROUP = 16u;

fn scale_value(byte: u32) -> f32 {
  return half_e4m3(byte);
}

// #include "shared/float4_rows.wgsl"
