// One uint8 zero point a group: the third array of formats with w = scale · (code − zero).
@group(1) @binding(2) var<storage, read> weight_zeros: array<u32>;

// The zero point of a group, counted over whole rows.
fn load_zero(group: u32) -> f32 {
  return f32((weight_zeros[group >> 2u] >> ((group & 3u) << 3u)) & 0xffu);
}
