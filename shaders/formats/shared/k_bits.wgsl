// Codes of ggml's super-blocks of 256 weights: bytes hold two or four bits of weights that are 32 apart.

// Of four bytes the bits of `mask` at `shift`.
fn bits4(word: u32, shift: u32, mask: u32) -> vec4<i32> {
  return vec4<i32>((vec4<u32>(word >> shift) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(mask));
}

// Weight `at`, counted over whole rows, and the 15 after it: which vector of words has them, and the shift, by bits of a code.
fn pairs_at(at: u32) -> u32 {
  return 4u * (at >> 8u) + 2u * ((at >> 7u) & 1u) + ((at >> 4u) & 1u);
}
fn pair_shift(at: u32) -> u32 {
  return 2u * ((at >> 5u) & 3u);
}
fn halves_at(at: u32) -> u32 {
  return 8u * (at >> 8u) + 2u * ((at >> 6u) & 3u) + ((at >> 4u) & 1u);
}
fn half_shift(at: u32) -> u32 {
  return 4u * ((at >> 5u) & 1u);
}
