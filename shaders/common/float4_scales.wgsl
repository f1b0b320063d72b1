// Scales of the four-bit float formats, halved because the magnitudes of E2M1 are doubled (src/formats/float4.ts).

// 2^(e − 128) for an exponent of E8M0.
fn half_e8m0(e: u32) -> f32 {
  return bitcast<f32>(select((e - 1u) << 23u, 0x200000u << e, e < 2u));
}

// Of unsigned E4M3; its NaN counts as zero, as in ggml.
fn half_e4m3(byte: u32) -> f32 {
  let exponent = (byte >> 3u) & 15u;
  let normal = bitcast<f32>(((exponent + 119u) << 23u) | ((byte & 7u) << 20u));
  let value = select(normal, f32(i32(byte & 7u)) * 0x1p-10, exponent == 0u);
  return select(value, 0.0, byte == 0x7fu);
}
