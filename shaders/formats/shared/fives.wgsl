// Five-bit codes: nibbles, and the fifth bits in a word for 32 weights, bit i for weight i.
// #include "nibbles.wgsl"

// Codes of four weights: the low nibbles of four bytes, and bits 0 .. 3 of `high`.
fn unpack_fives(nibbles: u32, high: u32) -> vec4<f32> {
  let fifths = (vec4<u32>(high) << vec4<u32>(4u, 3u, 2u, 1u)) & vec4<u32>(0x10u);
  return vec4<f32>(unpack_nibbles(nibbles) | vec4<i32>(fifths));
}
