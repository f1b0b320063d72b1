// Formats int8-g* and q8_0: w = scale · code, code int8; one f16 scale for GROUP weights of a row.
// Codes: byte i of a row belongs to weight i.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "../common/float16.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

override GROUP: u32 = 32;

// The scale of a group, counted over whole rows.
fn load_scale(group: u32) -> f32 {
  return f16_value((weight_scales[group >> 1u] >> ((group & 1u) << 4u)) & 0xffffu);
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let word = bitcast<i32>(weight_codes[at >> 2u]);
  let codes = (vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return load_scale(at / GROUP) * vec4<f32>(codes);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}
