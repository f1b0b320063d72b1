// Rows of E2M1 codes with a byte of scale for GROUP weights; the format defines its bytes: fn scale_value(byte: u32) -> f32, half the scale.
// #include "nibble_rows.wgsl"
// #include "float4.wgsl"
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

// Half the scale of weight `at`, counted over whole rows.
fn scale_of(at: u32) -> f32 {
  let group = at / GROUP;
  return scale_value((weight_scales[group >> 2u] >> ((group & 3u) << 3u)) & 0xffu);
}
