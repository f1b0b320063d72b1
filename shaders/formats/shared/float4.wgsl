// Codes of four bits in E2M1: a sign and twice the magnitude, which is an integer.
// #include "nibbles.wgsl"

// Values of four weights, whose codes are the low nibbles of four bytes.
fn values4(word: u32) -> vec4<f32> {
  let codes = unpack_nibbles(word);
  // The magnitudes of codes 0 .. 7, a nibble each.
  let places = vec4<u32>((codes & vec4<i32>(7)) << vec4<u32>(2u));
  let magnitudes = vec4<i32>((vec4<u32>(0xc8643210u) >> places) & vec4<u32>(0xfu));
  return vec4<f32>(select(magnitudes, -magnitudes, codes >= vec4<i32>(8)));
}
