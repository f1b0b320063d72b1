// Groups of GROUP weights of a row, each with a scale, and perhaps a zero point, in f16, bf16 or f32: SCALE_TYPE 0, 1 and 2.
// #include "../../common/float16.wgsl"
override GROUP: u32 = 32;
override SCALE_TYPE: u32 = 0;

@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

// Two groups share a word in f16 and bf16.
fn float_word(group: u32) -> u32 {
  return select(group >> 1u, group, SCALE_TYPE == 2u);
}

fn float_in(word: u32, group: u32) -> f32 {
  if (SCALE_TYPE == 2u) { return bitcast<f32>(word); }
  let half = (word >> ((group & 1u) << 4u)) & 0xffffu;
  if (SCALE_TYPE == 1u) { return bitcast<f32>(half << 16u); }
  return f16_value(half);
}

// The scale of a group, counted over whole rows.
fn load_scale(group: u32) -> f32 {
  return float_in(weight_scales[float_word(group)], group);
}
