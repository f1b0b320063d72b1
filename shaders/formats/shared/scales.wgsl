// One f16 scale a group: the second array of every quantized format.
// #include "../../common/float16.wgsl"
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

// The scale of a group, counted over whole rows.
fn load_scale(group: u32) -> f32 {
  return f16_value((weight_scales[group >> 1u] >> ((group & 1u) << 4u)) & 0xffffu);
}
