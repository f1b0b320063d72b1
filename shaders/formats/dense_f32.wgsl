// Format f32: rows of f32, one after another. The kernel declares `fn row_length() -> u32`, the weights in a row.
// Two views of one buffer; an entry point may use only one of them.
@group(1) @binding(0) var<storage, read> weight_data: array<u32>;
@group(1) @binding(0) var<storage, read> weight_data4: array<vec4<u32>>;

// Weights k .. k + 3 of a row; those past its end are 0.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let length = row_length();
  let at = row * length + k;
  if (k + 4u <= length) {
    return bitcast<vec4<f32>>(vec4<u32>(weight_data[at], weight_data[at + 1u], weight_data[at + 2u], weight_data[at + 3u]));
  }
  var bits = vec4<u32>(0u);
  for (var i = 0u; i < 4u; i++) {
    if (k + i < length) { bits[i] = weight_data[at + i]; }
  }
  return bitcast<vec4<f32>>(bits);
}

// The same where row_length() is a multiple of 4.
fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(weight_data4[(row * row_length() + k) >> 2u]);
}

// #include "shared/dense_chunk.wgsl"
