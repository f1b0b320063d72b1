// Four-bit codes: each word holds eight weights, b in the low nibble of byte b, 4 + b in its high nibble (b = 0..3).
// Codes are signed, which software devices convert to f32 in one instruction.
@group(1) @binding(0) var<storage, read> weight_codes: array<vec2<u32>>;

// Codes of four weights: the low nibbles of four bytes.
fn unpack_nibbles(word: u32) -> vec4<i32> {
  return vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xfu));
}

// The word whose low nibbles are the codes of weights k .. k + 3, counted over whole rows.
fn nibbles_at(at: u32) -> u32 {
  return weight_codes[at >> 4u][(at >> 3u) & 1u] >> (at & 4u);
}

// The same for weights 4i .. 4i + 3 of sixteen. Sixteen make a chunk of these formats: few enough for compilers to unroll.
fn nibbles_of(words: vec2<u32>, i: u32) -> u32 {
  return words[i >> 1u] >> ((i & 1u) << 2u);
}
