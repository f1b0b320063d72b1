// Format f16: rows of f16, one after another. The kernel declares `fn row_length() -> u32`, the weights in a row.
// #include "../common/float16.wgsl"
fn halves4(bits: vec4<u32>) -> vec4<f32> {
  return f16_value4(bits);
}

// #include "shared/dense_halves.wgsl"
