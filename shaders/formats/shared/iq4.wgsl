// The sixteen levels of ggml's iq4 types: −127, −104, −83, −65, −49, −35, −22, −10, 1, 13, 25, 38, 53, 69, 89, 113.
// #include "nibbles.wgsl"

// Of the codes that are the low nibbles of four bytes. A polynomial that comes within 0.44 of each level takes less time than a table does.
fn values4(word: u32) -> vec4<f32> {
  let c = vec4<f32>(unpack_nibbles(word));
  return round((((0.00158604 * c + 0.0310864) * c - 1.37193) * c + 24.1738) * c - 126.567);
}
