// Four-bit codes: each word holds eight weights, b in the low nibble of byte b, 4 + b in its high nibble (b = 0..3).

// Codes of four weights: the low nibbles of four bytes.
fn unpack_nibbles(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xfu);
}
