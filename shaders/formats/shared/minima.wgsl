// One f16 minimum a group: the third array of formats with w = scale · code + minimum.
// #include "../../common/float16.wgsl"
@group(1) @binding(2) var<storage, read> weight_minima: array<u32>;

// The minimum of a group, counted over whole rows.
fn load_minimum(group: u32) -> f32 {
  return f16_value((weight_minima[group >> 1u] >> ((group & 1u) << 4u)) & 0xffffu);
}
