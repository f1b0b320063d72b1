// Two-bit codes, sixteen in a word, the first in its lowest bits. Codes are signed, which software devices convert to f32 in one instruction.
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;

// Codes of four weights: the low byte of a word.
fn unpack_pairs(byte: u32) -> vec4<i32> {
  return vec4<i32>((vec4<u32>(byte) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u));
}

// Codes of weights at .. at + 3, counted over whole rows.
fn codes_at(at: u32) -> vec4<i32> {
  return unpack_pairs(weight_codes[at >> 4u] >> ((at & 12u) << 1u));
}

// What holds the codes of the sixteen from `at` on.
alias Words = u32;

fn words_at(at: u32) -> Words {
  return weight_codes[at >> 4u];
}

// Codes of weights 4i .. 4i + 3 of sixteen.
fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return unpack_pairs(words >> (i << 3u));
}
