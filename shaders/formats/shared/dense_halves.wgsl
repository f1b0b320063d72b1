// Rows of 16-bit floats, one after another. The format defines fn halves4(bits: vec4<u32>) -> vec4<f32>, the values of four of them.
// Two views of one buffer; an entry point may use only one of them.
@group(1) @binding(0) var<storage, read> weight_data: array<u32>;
@group(1) @binding(0) var<storage, read> weight_data4: array<vec2<u32>>;

// Weights k .. k + 3 of a row; those past its end are 0.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let length = row_length();
  let at = row * length + k;
  if (k + 4u <= length) {
    let low = weight_data[at >> 1u];
    let middle = weight_data[(at >> 1u) + 1u];
    if ((at & 1u) == 0u) { return halves4(vec4<u32>(low, low >> 16u, middle, middle >> 16u) & vec4<u32>(0xffffu)); }
    let high = weight_data[(at + 3u) >> 1u];
    return halves4(vec4<u32>(low >> 16u, middle, middle >> 16u, high) & vec4<u32>(0xffffu));
  }
  var bits = vec4<u32>(0u);
  for (var i = 0u; i < 4u; i++) {
    if (k + i < length) { bits[i] = (weight_data[(at + i) >> 1u] >> (((at + i) & 1u) << 4u)) & 0xffffu; }
  }
  return halves4(bits);
}

// The same where row_length() is a multiple of 4.
fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  let words = weight_data4[(row * row_length() + k) >> 2u];
  return halves4((words.xxyy >> vec4<u32>(0u, 16u, 0u, 16u)) & vec4<u32>(0xffffu));
}

// #include "dense_chunk.wgsl"
